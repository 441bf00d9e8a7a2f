"""HPSv3 as an external scorer: the protocol evalscore/1 on standard input and output.

    pip install hpsv3          needs a GPU with 24 GB for its 16.6 GB of weights, which it downloads
    python hpsv3_scorer.py     is started by the program that wants scores

Options: `--device cuda:1`, and `--checkpoint FILE` for weights that lie elsewhere.
"""

import argparse
import contextlib
import importlib.metadata
import json
import sys

PROTOCOL = "evalscore/1"


def main():
    """Load the model, then answer line by line until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--checkpoint", help="default: the package downloads it")
    arguments = parser.parse_args()

    # Only answers may go to the standard output, and libraries print to it.
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        from hpsv3 import HPSv3RewardInferencer

        options = {"checkpoint_path": arguments.checkpoint} if arguments.checkpoint else {}
        model = HPSv3RewardInferencer(device=arguments.device, **options)

    def say(message):
        print(json.dumps(message, allow_nan=False), file=answers, flush=True)

    say({
        "protocol": PROTOCOL,
        "name": "hpsv3",
        "version": importlib.metadata.version("hpsv3"),
        "columns": ["mu", "sigma"],
        "primary": "mu",
        "higher_is_better": True,
        "needs": ["prompt"],
    })
    for line in sys.stdin:
        request = json.loads(line)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                # By name: versions of the package differ in the order of these two.
                rewards = model.reward(
                    prompts=[request["prompt"]], image_paths=[request["image"]]
                )
            mu, sigma = (float(value) for value in rewards[0][:2])
            say({"id": request["id"], "scores": {"mu": mu, "sigma": sigma}})
        except Exception as error:  # One image that fails is no reason to lose the others.
            say({"id": request["id"], "error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
