// CUDA C++ as CubeCL writes it, for a CPU. A unit (thread) runs until it reaches a barrier; then `wait`
// gives the turn to another one. A warp's matrix products are computed by its first unit.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

using std::abs; using std::ceil; using std::cos; using std::erf; using std::exp; using std::floor;
using std::isinf; using std::isnan; using std::log; using std::max; using std::min; using std::pow;
using std::sin; using std::sqrt; using std::tanh;

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

struct uint3 { unsigned x, y, z; };
typedef uint3 dim3;
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t(a) * b) >> 32; }
template <class T> static T atomicAdd(T* p, T v) { T old = *p; *p = old + v; return old; }

namespace emulated {
struct State {
    uint3 thread, block, block_size, grid_size;
    void (*wait)(unsigned);
};
static State state;
enum Barrier { Warp, Block };

template <class... P, size_t... I>
static void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_const_t<std::remove_reference_t<P>>*)arguments[I]...);
}
template <class... P> static void call(void (*kernel)(P...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<P...>{});
}

static bool is_first_of_warp() {
    unsigned number = state.thread.x + state.block_size.x * (state.thread.y + state.block_size.y * state.thread.z);
    return number % 32 == 0;
}
}
#define threadIdx emulated::state.thread
#define blockIdx emulated::state.block
#define blockDim emulated::state.block_size
#define gridDim emulated::state.grid_size

static inline void __syncthreads() { emulated::state.wait(emulated::Block); }
static inline void __syncwarp(unsigned = 0xffffffff) { emulated::state.wait(emulated::Warp); }

// As much as an H100 gives to a cube. It starts with NaNs.
unsigned char dynamic_shared_mem[232448] __attribute__((aligned(1024), visibility("hidden")));

#define EMULATE(kernel) \
    extern "C" emulated::State* state() { return &emulated::state; } \
    extern "C" void begin_cube() { memset(dynamic_shared_mem, 0xff, 49152); } \
    extern "C" void call(void** arguments) { emulated::call(&kernel, arguments); }

// Numbers of 16 bits, computed in 32.
struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> __nv_bfloat16(T v) {
        float f = (float)v;
        uint32_t u;
        memcpy(&u, &f, 4);
        bits = std::isnan(f) ? 0x7fff : (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    }
    operator float() const {
        uint32_t u = uint32_t(bits) << 16;
        float f;
        memcpy(&f, &u, 4);
        return f;
    }
};
struct __half {
    _Float16 value;
    __half() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> __half(T v) : value((_Float16)(float)v) {}
    operator float() const { return (float)value; }
};

template <class T> struct Two { T x, y; };
typedef Two<__half> __half2;
typedef Two<__nv_bfloat16> __nv_bfloat162;
#define EMULATE_OPERATOR(op) \
    template <class T> static Two<T> operator op(Two<T> a, Two<T> b) { \
        return {T(float(a.x) op float(b.x)), T(float(a.y) op float(b.y))}; \
    }
EMULATE_OPERATOR(+) EMULATE_OPERATOR(-) EMULATE_OPERATOR(*) EMULATE_OPERATOR(/)
template <class T> static Two<T> operator-(Two<T> a) { return {T(-float(a.x)), T(-float(a.y))}; }

#define EMULATE_ONE(name, f) template <class T> static T name(T a) { return T(f(float(a))); }
#define EMULATE_TWO(name, f) template <class T> static Two<T> name(Two<T> a) { return {T(f(float(a.x))), T(f(float(a.y)))}; }
EMULATE_ONE(hexp, std::exp) EMULATE_ONE(hsqrt, std::sqrt) EMULATE_ONE(hlog, std::log) EMULATE_ONE(hsin, std::sin)
EMULATE_ONE(hcos, std::cos) EMULATE_ONE(__habs, std::fabs)
EMULATE_TWO(h2exp, std::exp) EMULATE_TWO(h2sqrt, std::sqrt) EMULATE_TWO(h2log, std::log) EMULATE_TWO(h2sin, std::sin)
EMULATE_TWO(h2cos, std::cos) EMULATE_TWO(__habs2, std::fabs) EMULATE_TWO(h2rcp, 1.0f /)
template <class T> static T __hmax(T a, T b) { return float(a) > float(b) ? a : b; }
template <class T> static T __hmin(T a, T b) { return float(a) < float(b) ? a : b; }
template <class T> static Two<T> __hmax2(Two<T> a, Two<T> b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
template <class T> static Two<T> __hmin2(Two<T> a, Two<T> b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }

// Matrix products of a warp.
namespace nvcuda { namespace wmma {
struct row_major {};
struct col_major {};
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
enum layout_t { mem_row_major, mem_col_major };
namespace precision { struct tf32 {}; }

template <class T> struct Stored { using type = T; };
template <> struct Stored<precision::tf32> { using type = float; };

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static constexpr int rows = std::is_same_v<Use, matrix_b> ? K : M;
    static constexpr int columns = std::is_same_v<Use, matrix_a> ? K : N;
    static constexpr int num_elements = rows * columns;
    using Number = typename Stored<T>::type;
    Number x[rows * columns];
};

// 11 bits of mantissa, to the nearest, as tensor cores round f32.
static inline float __float_to_tf32(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7f800000) != 0x7f800000) u = (u + 0x1000) & 0xffffe000;
    memcpy(&f, &u, 4);
    return f;
}

template <class F, class V> static void fill_fragment(F& f, V value) {
    if (emulated::is_first_of_warp()) for (auto& x : f.x) x = typename F::Number(value);
}

// All units of a warp have written what its first one reads, and read before they write again.
template <class F> static void with_warp(F f) {
    __syncwarp();
    if (emulated::is_first_of_warp()) f();
    __syncwarp();
}

template <class F, class T> static void load(F& f, const T* p, unsigned stride, bool by_rows) {
    with_warp([&] {
        for (int r = 0; r < F::rows; r++) for (int c = 0; c < F::columns; c++)
            f.x[r * F::columns + c] = by_rows ? p[r * stride + c] : p[c * stride + r];
    });
}
template <class Use, int M, int N, int K, class E, class Layout, class T>
static void load_matrix_sync(fragment<Use, M, N, K, E, Layout>& f, const T* p, unsigned stride) {
    load(f, p, stride, std::is_same_v<Layout, row_major>);
}
template <class F, class T> static void load_matrix_sync(F& f, const T* p, unsigned stride, layout_t layout) {
    load(f, p, stride, layout == mem_row_major);
}
template <class T, class F> static void store_matrix_sync(T* p, const F& f, unsigned stride, layout_t layout) {
    with_warp([&] {
        for (int r = 0; r < F::rows; r++) for (int c = 0; c < F::columns; c++)
            p[layout == mem_row_major ? r * stride + c : c * stride + r] = f.x[r * F::columns + c];
    });
}
template <class D, class A, class B, class C> static void mma_sync(D& d, const A& a, const B& b, const C& c) {
    if (!emulated::is_first_of_warp()) return;
    for (int i = 0; i < A::rows; i++) for (int j = 0; j < B::columns; j++) {
        float sum = (float)c.x[i * B::columns + j];
        for (int k = 0; k < A::columns; k++) sum += (float)a.x[i * A::columns + k] * (float)b.x[k * B::columns + j];
        d.x[i * B::columns + j] = typename D::Number(sum);
    }
}
}}
