"""Apps that other servers run: each as that server's own tutorial has it. They run with its packages, not with ours."""
