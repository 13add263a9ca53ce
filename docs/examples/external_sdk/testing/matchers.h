// SPDX-License-Identifier: Apache-2.0
//
// The SDK's own matchers. Their header's path and include guard do not clash
// with refreshable's.

#ifndef TESTING_MATCHERS_H_
#define TESTING_MATCHERS_H_

#include "gmock/gmock.h"

namespace notes {

MATCHER(IsPositive, "") { return arg > 0; }

}  // namespace notes

#endif  // TESTING_MATCHERS_H_
