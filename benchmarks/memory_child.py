"""One measurement of ``memory.py``, in a process of its own: a case's number to JSON.

Whoever starts it has ``carlib.memory.instrument.LIMITED`` in the environment.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import keras
    import memory_cases
    import numpy as np
    import tensorflow as tf

    from carlib.memory.instrument import measure
    from carlib.predict import make_forward
    from carlib.schedules import make_schedule
    from carlib.steps import compile_trainer

    job = json.loads(sys.argv[1])
    case = getattr(memory_cases, job.get("of", "CASES"))[job["case"]]
    classes = memory_cases.CLASSES
    if job.get("heap"):  # the allocator's memory as one region, as a GPU's is
        for spared in (1, 2, 4, 8, 16):
            try:
                region = tf.zeros([(job["heap"] - spared) * 2**20], tf.uint8)
            except tf.errors.ResourceExhaustedError:
                continue
            del region
            break
    model, trainer = case.build()
    random = np.random.default_rng(0)
    batch = job.get("batch", case.batch)
    photos = random.integers(0, 256, (batch, case.size, case.size, 3), np.uint8)
    targets = np.eye(classes, dtype=np.float32)[random.integers(0, classes, batch)]
    if case.work == "forward":
        forward, variables = make_forward(model), model.variables

        def step() -> None:
            np.asarray(forward(photos))
    else:
        compile_trainer(trainer, case.recipe, case.phase, make_schedule(case.phase, 10))
        held = [*model.variables, *trainer.optimizer.variables, *trainer.metrics_variables]
        variables = list({id(each): each for each in held}.values())

        def step() -> None:
            trainer.train_function(iter([(photos, targets)]))

    try:
        for _ in range(job.get("steps", 1)):
            step()
    except tf.errors.ResourceExhaustedError:
        print(json.dumps({"exhausted": True}))
        return
    if job.get("steps"):  # only whether it runs
        print(json.dumps({"exhausted": False}))
        return
    found = measure(step, variables, "CPU:0")
    outputs = sum(
        int(np.prod([batch, *tensor.shape[1:]])) * np.dtype(tensor.dtype).itemsize
        for layer in model.layers
        for tensor in keras.tree.flatten(layer.output)
        if tensor.dtype != "bfloat16"
    )
    trained = sum(int(np.prod(each.shape)) for each in trainer.trainable_weights) * 4
    print(
        json.dumps(
            {
                "requested": found.requested,
                "variables": found.variables,
                "in_use": found.in_use,
                # The usual recipe: all layers' outputs, weights, slots and gradients.
                "sum_of_outputs": found.variables + outputs + (case.work == "training") * trained,
                "grappler": grappler(trainer, photos, targets) if job.get("grappler") else None,
                "live": [[each.op, each.shape, each.nbytes] for each in found.live[:300]],
            }
        )
    )


def grappler(trainer, photos, targets):
    """Return TensorFlow's own static estimate of the step's peak, in bytes."""
    import tensorflow as tf
    from tensorflow.python.framework import meta_graph
    from tensorflow.python.grappler import cluster, item

    def step(photos, targets):
        return trainer.train_step((photos, targets))["loss"]

    signature = [tf.TensorSpec(photos.shape, "uint8"), tf.TensorSpec(targets.shape, "float32")]
    graph = tf.function(step).get_concrete_function(*signature).graph
    meta = meta_graph.create_meta_graph_def(graph=graph)
    fetches = [graph.outputs[0].op.name]
    fetches += [op.name for op in graph.get_operations() if op.type.startswith("Assign")]
    for name in fetches:
        meta.collection_def["train_op"].node_list.value.append(name)
    found = cluster.Cluster(disable_detailed_stats=True).DeterminePeakMemoryUsage(item.Item(meta))
    return max(peak for peak, _ in found.values())


if __name__ == "__main__":
    main()
