#!/bin/sh
# Builds the stand-ins for NVIDIA's libraries into a folder: sh build.sh FOLDER; with it in LD_LIBRARY_PATH, a program finds them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cp "$here/thread.h" "$1/"
flags="-std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -shared"
cc $flags -Wl,-soname,libcuda.so.1 "$here/driver.c" "$here/ptx.c" -o "$1/libcuda.so.1" -lpthread -ldl -lm
# The name that cudarc asks for first; a machine with a driver may have one of its own.
ln -sf libcuda.so.1 "$1/libcuda.so"
# Threads for the products where the compiler has them.
openmp=-fopenmp
echo 'int main(void) { return 0; }' | cc $openmp -x c - -o /dev/null 2>/dev/null || openmp=-Wno-unknown-pragmas
cc $flags -O3 -march=native $openmp -Wl,-soname,libcublas.so.13 -Wl,-rpath,'$ORIGIN' "$here/blas.c" -o "$1/libcublas.so.13" \
    -L "$1" -l:libcuda.so.1
# What sees the checks fail: run it after building.
cc -std=gnu11 -O1 -Wall -Wextra -Werror "$here/faults.c" -o "$1/faults" -Wl,-rpath,'$ORIGIN' -L "$1" -l:libcuda.so.1 -l:libcublas.so.13 -lm
