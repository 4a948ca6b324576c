//! What the classic input pipeline was tested for, case by case.
//!
//! Each case is a test whose comment begins with the name it has in the test suites of TensorFlow 1, and whose own name is
//! that of the case; those that mean nothing here stand in `absent.md` with the reason.

mod coordinator;
mod coverage;
mod feed;
mod fifo_queue;
mod fifo_queue_rows;
mod input;
mod input_rows;
mod map_stage_op;
mod padding_fifo_queue;
mod priority_queue;
mod priority_queue_rows;
mod queue_runner;
mod queues;
mod random_shuffle_queue;
mod random_shuffle_queue_rows;
mod rows;
mod stage_op;
