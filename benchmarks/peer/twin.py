"""PyTorch's side of the benchmarks: does the same work as the Rust side, when it is told to.

    python twin.py --device cpu|cuda --threads N --dtype f32|bf16 [--model DIR]
    python twin.py --selfcheck DIR      every row once on a small model, and the maths

The program that compares starts this one, and the two take turns. Requests are lines of JSON on
stdin; each is answered by one line of JSON on stdout, in order:

    (start)                            {"ready": true, "torch": V, "threads": N, "rows": [...], ...}
    {"row": NAME, "prepare": true}     {"row": NAME, "prepared": true, "resident_before": BYTES}
    {"row": NAME}                      {"row": NAME, "seconds": S, "peak_bytes": P,
                                        "resident_before": BYTES}
    {"row": NAME, "repeat": N}         the same, N times within one timing; S is for one of them
    {"row": NAME, "release": true}     {"row": NAME, "released": true}
    {"quit": true}                     (ends, as does the end of stdin)

`prepare` builds the row's inputs (and loads the model, the first time) and runs it once. What
fails is answered by {"row": NAME, "error": TEXT}. `peak_bytes` is the largest resident memory
during the run on the CPU, and PyTorch's largest allocation on CUDA; both include the weights.
`resident_before` is the same measure with the inputs in place, before the first run.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import sys
import time
from pathlib import Path

LIBC = ctypes.CDLL(None)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def main():
    """Serve requests, or check everything once."""
    arguments = parse()
    if not arguments.stock:
        keep_memory()
    # Libraries print now and then; the protocol keeps stdout for itself.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    server, about = start(arguments)
    if arguments.selfcheck:
        import selfcheck

        return selfcheck.run(server, arguments.selfcheck, answers)
    print(json.dumps({"ready": True, **about}), file=answers)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if request.get("quit"):
                break
        except (json.JSONDecodeError, AttributeError):
            answer = {"row": None, "error": f"not a JSON object: {line.strip()}"}
        else:
            answer = server.answer(request)
        print(json.dumps(answer), file=answers)


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--model", type=Path, metavar="DIR", help="a diffusers folder")
    parser.add_argument("--resolution", type=int, default=256, help="pixels (default 256)")
    parser.add_argument("--tf32", action="store_true", help="CUDA: TF32 products in f32 rows")
    parser.add_argument("--channels-last", action="store_true", help="the UNet's memory format")
    parser.add_argument(
        "--stock",
        action="store_true",
        help="PyTorch as it comes: malloc left alone, its own second derivative of convolutions",
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile, in the rows that it can do"
    )
    parser.add_argument(
        "--jvp-flash",
        action="store_true",
        help="attention of jvp_flash_attention, in the rows that it can do (CUDA)",
    )
    parser.add_argument("--selfcheck", type=Path, metavar="DIR", help="a small diffusers folder")
    return parser.parse_args()


def keep_memory():
    """Lets PyTorch reuse memory instead of asking the kernel for zeroed pages again and again.

    Does what PyTorch's tuning guide recommends jemalloc or tcmalloc for; large tensors gain a
    factor of up to 2. Must run before PyTorch is imported.
    """
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
    if hasattr(LIBC, "mallopt"):
        LIBC.mallopt(M_MMAP_MAX, 0)
        LIBC.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        LIBC.mallopt(M_TOP_PAD, 64 * 2**20)


def start(arguments):
    """Imports PyTorch with the settings asked for; returns the server and what it runs on."""
    import diffusers
    import torch
    import transformers

    import rows

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = arguments.tf32
    torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    device = torch.device(arguments.device)
    on_cuda = device.type == "cuda"
    setup = rows.Setup(
        device=device,
        dtype={"f32": torch.float32, "bf16": torch.bfloat16}[arguments.dtype],
        folder=arguments.model or arguments.selfcheck,
        resolution=arguments.resolution,
        channels_last=arguments.channels_last,
        stock=arguments.stock,
        compile=arguments.compile,
        jvp_flash=arguments.jvp_flash,
    )
    table = rows.table(setup)
    about = {
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "device": arguments.device,
        "device_name": torch.cuda.get_device_name(device) if on_cuda else "cpu",
        "dtype": arguments.dtype,
        "tf32": arguments.tf32,
        "stock": arguments.stock,
        "compile": arguments.compile,
        "jvp_flash": arguments.jvp_flash,
        "rows": list(table),
    }
    return Server(table, setup, CudaMemory(device) if on_cuda else HostMemory()), about


class Server:
    """The rows that are prepared, and how requests are answered."""

    def __init__(self, table, setup, memory):
        self.table, self.setup, self.memory = table, setup, memory
        self.prepared = {}

    def answer(self, request):
        """The answer to one request; whatever goes wrong is an answer too."""
        name = request.get("row")
        try:
            if request.get("prepare"):
                return {"row": name, **self.prepare(name)}
            if request.get("release"):
                return {"row": name, **self.release(name)}
            return {"row": name, **self.run(name, request.get("repeat", 1))}
        except Exception as error:  # The process lives on.
            self.memory.clear()
            return {"row": name, "error": f"{type(error).__name__}: {error}"}

    def prepare(self, name):
        """Builds a row and runs it once."""
        if name not in self.table:
            raise ValueError(f"no such row; there are {', '.join(self.table)}")
        self.release(name)
        run = self.table[name](self.setup)
        self.memory.clear()
        before = self.memory.now()
        run()
        self.memory.wait()
        self.prepared[name] = run, before
        return {"prepared": True, "resident_before": before}

    def run(self, name, repeat):
        """Runs a prepared row `repeat` times."""
        if name not in self.prepared:
            raise ValueError("not prepared")
        run, before = self.prepared[name]
        gc.collect()
        self.memory.reset_peak()
        start = time.perf_counter()
        for _ in range(repeat):
            run()
        self.memory.wait()
        seconds = (time.perf_counter() - start) / repeat
        return {"seconds": seconds, "peak_bytes": self.memory.peak(), "resident_before": before}

    def release(self, name):
        """Forgets a row; the model stays."""
        self.prepared.pop(name, None)
        self.memory.clear()
        return {"released": True}


class HostMemory:
    """Resident memory of this process (Linux)."""

    def now(self):
        return status_bytes("VmRSS")

    def peak(self):
        return status_bytes("VmHWM")

    def reset_peak(self):
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def clear(self):
        """Gives what is free back to the system, so that no row pays for another."""
        gc.collect()
        if hasattr(LIBC, "malloc_trim"):
            LIBC.malloc_trim(0)

    def wait(self):
        """The CPU is always in step."""


class CudaMemory:
    """What PyTorch has allocated on a GPU."""

    def __init__(self, device):
        import torch

        self.cuda, self.device = torch.cuda, device

    def now(self):
        return self.cuda.memory_allocated(self.device)

    def peak(self):
        return self.cuda.max_memory_allocated(self.device)

    def reset_peak(self):
        self.cuda.synchronize(self.device)
        self.cuda.reset_peak_memory_stats(self.device)

    def clear(self):
        gc.collect()
        self.cuda.empty_cache()

    def wait(self):
        self.cuda.synchronize(self.device)


def status_bytes(key):
    """A size from /proc/self/status, or None where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith(key + ":")]
    return int(found[0].split()[1]) * 1024


if __name__ == "__main__":
    main()
