// SPDX-License-Identifier: Apache-2.0
//
// The SDK's own test matchers. This header shows that a user's header with this
// path and this include guard does not clash with refreshable's headers.

#ifndef TESTING_MATCHERS_H_
#define TESTING_MATCHERS_H_

#include "gmock/gmock.h"

namespace notes {

MATCHER(IsPositive, "") { return arg > 0; }

}  // namespace notes

#endif  // TESTING_MATCHERS_H_
