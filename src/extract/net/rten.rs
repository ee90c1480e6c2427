//! rten, a runtime in pure Rust, compiled in with `--features rten`.

use super::super::cost;
use super::network::{Network, Outputs};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{Tensor, TensorView};
use std::sync::Arc;

/// The version of the crate.
pub const VERSION: &str = "0.27";

struct Loaded {
    model: Model,
    input: NodeId,
    outputs: Vec<NodeId>,
    /// One thread: workers share the cores.
    threads: Arc<ThreadPool>,
}

/// Makes a network ready.
pub(super) fn network(bytes: &[u8], outputs: &[String]) -> Result<Box<dyn Network>, String> {
    let model = ModelOptions::with_all_ops().load(bytes.to_vec()).map_err(|e| e.to_string())?;
    let input = *model.input_ids().first().ok_or("it takes no input")?;
    let node = |name: &String| model.node_id(name).map_err(|e| e.to_string());
    let outputs = outputs.iter().map(node).collect::<Result<_, _>>()?;
    let threads = Arc::new(ThreadPool::with_num_threads(1));
    Ok(Box::new(Loaded { model, input, outputs, threads }))
}

impl Network for Loaded {
    fn run(&mut self, shape: &[usize], input: &[f32]) -> Result<Outputs, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let view = TensorView::try_from_data(shape, input).map_err(|e| text(&e))?;
        let options = RunOptions::default().with_thread_pool(Some(self.threads.clone()));
        let inputs = vec![(self.input, ValueOrView::from(view))];
        // The model would go to that thread by itself; going there first tells what it works.
        let (values, seconds) = self.threads.run(|| {
            let before = cost::thread();
            let values = self.model.run(inputs, &self.outputs, Some(options));
            (values, cost::thread() - before)
        });
        cost::worked_elsewhere(seconds);
        let values = values.map_err(|e| text(&e))?;
        let take = |value: Value| {
            let tensor: Tensor<f32> = value.try_into().map_err(|_| "an output is not float32".to_string())?;
            Ok((tensor.shape().to_vec(), tensor.into_data()))
        };
        values.into_iter().map(take).collect()
    }
}
