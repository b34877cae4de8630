"""The whole product against a real vLLM on the CPU: slow, optional, collected only by `make test-vllm`."""
