// SPDX-License-Identifier: Apache-2.0
//
// The SDK's own test matchers. Like the SDK's own executors/clock.h, this file
// shows that the library's headers do not clash with an SDK's of the same path.

#ifndef TESTING_MATCHERS_H_
#define TESTING_MATCHERS_H_

#include "gmock/gmock.h"

namespace notes {

MATCHER(IsPositive, "") { return arg > 0; }

}  // namespace notes

#endif  // TESTING_MATCHERS_H_
