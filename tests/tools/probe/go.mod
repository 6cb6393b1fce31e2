// The static HTTP and TCP client of the suites; nothing but the standard library.
module landbridge.example/tests/tools/probe

go 1.26.0
