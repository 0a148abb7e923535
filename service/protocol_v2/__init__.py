"""The Open Inference Protocol v2 with Triton's extensions, as Triton's and KServe's clients speak it.

A model is called `<model>` or `<model>@<variant>`. It takes one of two inputs, `image`, the artifact's own tensor, or
`image_bytes`, encoded files, and yields `logits`. Sources: KServe's open-inference-protocol, and Triton's
protocol/extension_{binary_data,classification,model_configuration,model_repository,statistics}.md.
"""
