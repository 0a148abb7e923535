"""C-contiguous constants: folding often leaves a transposed view of another array."""

import numpy as np
import onnx_ir as ir


class LayOutConstants(ir.passes.InPlacePass):
    """Copy every initialiser that is not C-contiguous; the hashing pass that follows requires it."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Copy the initialisers that are not C-contiguous."""
        modified = False
        for graph in model.graphs():
            for value in graph.initializers.values():
                assert value.const_value is not None, "an initialiser has a value"
                array = value.const_value.numpy()
                if not array.flags.c_contiguous:
                    value.const_value = ir.tensor(np.asarray(array, order="C"), name=value.name)
                    modified = True
        return ir.passes.PassResult(model, modified)
