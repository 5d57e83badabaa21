"""The kernels to compile, and nothing else: each `dispatcher/**/_*.pyx`; VOLLEY_ONLY=text/_octets builds just that.

VOLLEY_OPTIMIZE=-O0 compiles in a third of the time, for whoever throws the kernel away (tests/mutants).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).parent
only = os.environ.get("VOLLEY_ONLY", "").split()
sources = sorted(p.relative_to(HERE) for p in (HERE / "dispatcher").rglob("_*.pyx"))
if only:
    sources = [p for p in sources if str(p.relative_to("dispatcher").with_suffix("")) in only]

setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(p.with_suffix("").parts),
                [str(p)],
                include_dirs=["dispatcher/records", str(p.parent)],
                depends=[str(h.relative_to(HERE)) for h in (HERE / "dispatcher").rglob("*.h")],
                extra_compile_args=[
                    os.environ.get("VOLLEY_OPTIMIZE", "-O3"),
                    "-g0",
                    "-fno-strict-aliasing",
                    "-Wno-sign-compare",
                ],
            )
            for p in sources
        ],
        build_dir="build",
        nthreads=os.cpu_count() or 1,
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True},
    ),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
