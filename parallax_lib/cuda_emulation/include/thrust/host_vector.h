// Thrust's vectors in host memory: those of the C++ library.  Vectors in device memory and algorithms are not here.
#pragma once
#include <vector>
namespace thrust {
template <class T> using host_vector = std::vector<T>;
}  // namespace thrust
