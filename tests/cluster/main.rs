//! Landbridge as its users have it: installed with Helm on a real node, declared with kubectl, called by pods.

mod calls;
mod changes;
mod channels;
mod company;
mod images;
mod install;
mod interception;
mod lifecycle;
mod node;
mod nodes;
mod scope;
mod survival;
mod troubleshooting;
mod world;
