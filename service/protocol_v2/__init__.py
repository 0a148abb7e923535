"""Open Inference Protocol v2 with Triton's extensions, for Triton's and KServe's clients.

A model name is `<model>` or `<model>@<variant>`. A model has two alternative inputs, `image` (the artifact's input
tensor) and `image_bytes` (encoded files), and one output, `logits`. Sources: KServe's open-inference-protocol, and
Triton's protocol/extension_{binary_data,classification,model_configuration,model_repository,statistics}.md.
"""
