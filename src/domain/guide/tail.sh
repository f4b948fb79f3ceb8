say 'everything is here and proven'
has "$larder" || fail "there is no larder here; where there is one, in this folder: $by_hand"
