"""Faults in models given away."""

from tests.mutants.fault import Fault

OPERATIONS = "tests/export/test_onnx_translation.py"
RUNS = "tests/export/test_exported_runs.py"

FAULTS = (
    Fault(
        "a loop that runs backwards reads forwards in ONNX",
        "export",
        "scan_input_directions=[backwards] * len(xs)",
        "scan_input_directions=[0] * len(xs)",
        f"{OPERATIONS}::test_loops",
    ),
    Fault(
        "expm1 is exp minus 1 in ONNX",
        "export",
        'return graph.add("Mul", graph.add("Tanh", half), above)',
        'return graph.add("Sub", graph.add("Exp", x), _scalar(graph, 1, value))',
        f"{OPERATIONS}::test_elementwise",
    ),
    Fault(
        "an array that is to be broadcast is given away as it is",
        "export",
        'return self.add("Expand", name, self.sizes(value.shape)) if value.narrow else name',
        "return name",
        f"{OPERATIONS}::test_shapes_and_reductions",
    ),
    Fault(
        "places beyond the end are not moved to it in ONNX",
        "export",
        'if "CLIP" not in str(equation.params["mode"]):',
        "if True:",
        f"{OPERATIONS}::test_products_and_gathers",
    ),
    Fault(
        "constants are stored as often as they are used",
        "export",
        "if _can_be_computed(equation, values):",
        "if False:",
        f"{OPERATIONS}::test_what_depends_on_no_input_is_computed_once",
    ),
    Fault(
        "a file that computes something else is given away",
        "export",
        "rtol=AGREES, atol=AGREES",
        "rtol=1e9, atol=1e9",
        f"{RUNS}::test_a_file_that_computes_something_else_is_not_given_away",
    ),
    Fault(
        "half of a refused export is left behind",
        "export",
        "    finally:\n        shutil.rmtree(part, ignore_errors=True)",
        "    finally:\n        pass",
        f"{RUNS}::test_an_operation_without_a_form_in_onnx",
    ),
    Fault(
        "the state of an exported model has the name of another",
        "export",
        'f"next_{name}": leaf',
        'f"next_{next(iter(self.initial))}": leaf',
        f"{RUNS}::test_a_carry_by_name",
    ),
)
