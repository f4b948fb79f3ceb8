"""Asks the real mlx_lm.load about every folder below the one given; prints a JSON object:
versions, and for each folder "loads", or the kind and first line of what it raised.

Strict as mlx_lm is, without network and without running code from the folder.
"""

import json
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
# Else tiktoken remembers, by its path, what a file held.
os.environ["TIKTOKEN_CACHE_DIR"] = ""

import mlx.core as mx  # noqa: E402
import mlx_lm  # noqa: E402
import safetensors  # noqa: E402
import tiktoken  # noqa: E402
import tokenizers  # noqa: E402
import transformers  # noqa: E402

mx.set_default_device(mx.cpu)


def ask(folder):
    try:
        mlx_lm.load(str(folder))
        return {"loads": True, "says": None}
    except BaseException as error:
        lines = str(error).strip().splitlines() or [""]
        says = lines[0].replace(str(folder), ".")[:300]
        return {"loads": False, "says": f"{type(error).__name__}: {says}"}


def main():
    root = Path(sys.argv[1])
    versions = {
        "mlx": mx.__version__,
        "mlx_lm": mlx_lm.__version__,
        "python": sys.version.split()[0],
        "safetensors": safetensors.__version__,
        "tiktoken": tiktoken.__version__,
        "tokenizers": tokenizers.__version__,
        "transformers": transformers.__version__,
    }
    verdicts = {folder.name: ask(folder) for folder in sorted(root.iterdir())}
    json.dump({"versions": versions, "verdicts": verdicts}, sys.stdout, indent=1, sort_keys=True)
    print()


main()
