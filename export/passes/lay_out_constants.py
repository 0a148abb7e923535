"""Constants in the order of their bytes: what folding transposed is often a view of something else."""

import numpy as np
import onnx_ir as ir


class LayOutConstants(ir.passes.InPlacePass):
    """Copy every initialiser that does not lie in memory row by row; the hashing pass that follows needs that."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Copy what needs it."""
        modified = False
        for graph in model.graphs():
            for value in graph.initializers.values():
                assert value.const_value is not None, "an initialiser holds its value"
                array = value.const_value.numpy()
                if not array.flags.c_contiguous:
                    value.const_value = ir.tensor(np.asarray(array, order="C"), name=value.name)
                    modified = True
        return ir.passes.PassResult(model, modified)
