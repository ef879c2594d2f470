// Thrust's complex numbers: those of the C++ library, whose functions a host compiler may call in device code too.
#pragma once
#include <complex>
namespace thrust {
template <class T> using complex = std::complex<T>;
using std::abs;
using std::acos;
using std::arg;
using std::asin;
using std::atan;
using std::conj;
using std::cos;
using std::cosh;
using std::exp;
using std::log;
using std::norm;
using std::polar;
using std::pow;
using std::proj;
using std::sin;
using std::sinh;
using std::sqrt;
using std::tan;
using std::tanh;
}  // namespace thrust
