// The one place where Boost.JSON's code, not only its declarations, is compiled.
#include <boost/json/src.hpp>
