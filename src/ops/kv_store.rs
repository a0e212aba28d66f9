//! Writes new keys or values into a cache's own buffer, in place.
//!
//! cache [C, Hkv, D]; new [T, Hkv, D]; base: the cache row of the first new row → the same cache.
//!
//! Burn's `slice_assign` copies the whole cache if a launch that reads it is still queued, which is
//! always the case during decoding. The caller passes its only handle of the cache, so nothing else
//! sees the change, and the queue runs the write after every launch that reads the old rows.

use burn::backend::{
    Backend, Flex, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Tensor, s};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::attend::Base;
use super::launch::{Shader, launch_in_place};

#[backend_extension(Cube, Flex)]
pub(crate) trait KvStoreBackend: Backend {
    fn kv_store(
        cache: FloatTensor<Self>,
        new: FloatTensor<Self>,
        base: IntTensor<Self>,
        row: usize,
    ) -> FloatTensor<Self>;
}

/// Writes `new [T, Hkv, D]` into rows `base.row ..` of `cache [C, Hkv, D]`.
pub fn kv_store(cache: Tensor<3>, new: Tensor<3>, base: &Base) -> Tensor<3> {
    debug_assert!(
        base.row + new.dims()[0] <= cache.dims()[0],
        "kv_store: {:?} at {} of {:?}",
        new.dims(),
        base.row,
        cache.dims()
    );
    Tensor::from_dispatch(<burn::backend::Dispatch as KvStoreBackend>::kv_store(
        cache.into_dispatch(),
        new.into_dispatch(),
        base.on_device.clone().into_dispatch(),
        base.row,
    ))
}

impl KvStoreBackend for Flex {
    fn kv_store(
        cache: FloatTensor<Self>,
        new: FloatTensor<Self>,
        _base: IntTensor<Self>,
        row: usize,
    ) -> FloatTensor<Self> {
        let cache = Tensor::<3>::from_primitive::<Flex>(cache);
        let new = Tensor::<3>::from_primitive::<Flex>(new);
        let rows = row..row + new.dims()[0];
        super::primitive(cache.slice_assign(s![rows], new))
    }
}

impl KvStoreBackend for CubeBackend {
    fn kv_store(
        cache: FloatTensor<Self>,
        new: FloatTensor<Self>,
        base: IntTensor<Self>,
        _row: usize,
    ) -> FloatTensor<Self> {
        let new = into_contiguous(new);
        let [t, heads, d] = [new.meta.shape()[0], new.meta.shape()[1], new.meta.shape()[2]];
        let shader = Shader {
            name: "kv_store",
            text: include_str!("../../shaders/kv_store.wgsl"),
            constants: vec![("width", (heads * d).to_string())],
        };
        let grid = [(heads * d).div_ceil(64) as u32, t as u32, 1];
        launch_in_place(shader, 64, grid, &[&new, &base], cache)
    }
}
