#!/bin/sh
# Becomes the sandbox's own server, which the platform talks to and which starts all else. An
# entry point that ends is a sandbox that fails.
exec /usr/local/bin/sandbox-api
