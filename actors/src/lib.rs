//! Skeleton.
mod config;

pub use config::{
    Affinity, AppPath, Basic, Cancel, Enhanced, EnvMode, Expiry, Features, Health, IfAbsent, InvalidConfig, Launch,
    OnExpired, PoolBuilder, PoolConfig, Queue, Restart, Routed, Sessions, Stop, StopSettings, Tracked, WorkerType,
    schema,
};
