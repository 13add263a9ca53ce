// SPDX-License-Identifier: Apache-2.0
//
// replay FILE...: runs a fuzz target once on each file, without libFuzzer.
// Fails if there are no files, because a corpus that is not found must not
// pass.

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    if (!file) {
      std::cerr << argv[i] << ": cannot be read\n";
      return 1;
    }
    std::cout << argv[i] << ": " << bytes.size() << " bytes" << std::endl;
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()),
                           bytes.size());
  }
  std::cout << argc - 1 << " files\n";
  return argc > 1 ? 0 : 1;
}
