//! The files of a model, which JavaScript reads.

use std::io;
use std::sync::Arc;

use js_sys::{Array, Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::errors::{error, unreadable};
use crate::engines::load::ModelFiles;
use crate::nn::Quant;
use crate::weights::files::ReadFuture;
use crate::weights::{ByteSource, Files};

/// Reads the files of a model from a JavaScript object. `quant`: how its weights are kept.
pub(super) fn model_files(model: &JsValue, quant: Quant) -> Result<ModelFiles, JsValue> {
    let wrong = |what: &str| error("bad-option", what);
    let get = |of: &JsValue, key: &str| Reflect::get(of, &key.into());
    let name = get(model, "label")?.as_string().ok_or_else(|| wrong("a model has no label"))?;
    let (mut small, mut ranged) = (Vec::new(), Vec::<(String, Arc<dyn ByteSource>)>::new());
    for file in Array::from(&get(model, "files")?).iter() {
        let name = get(&file, "name")?.as_string().ok_or_else(|| wrong("a file of a model has no name"))?;
        let bytes = get(&file, "bytes")?;
        if bytes.is_undefined() {
            let size = get(&file, "size")?.as_f64().ok_or_else(|| wrong("a file has neither bytes nor size"))?;
            let read =
                get(&file, "read")?.dyn_into().map_err(|_| wrong("a file has neither bytes nor a function `read`"))?;
            // There is only one thread, so the source need not be Send. It is an Arc because all
            // sources are.
            #[allow(clippy::arc_with_non_send_sync)]
            ranged.push((name, Arc::new(JsFile { size: size as u64, this: file, read })));
        } else {
            small.push((name, Uint8Array::new(&bytes).to_vec()));
        }
    }
    let demo = get(model, "demo")?.is_truthy();
    Ok(ModelFiles { files: Files::remote(&name, small, ranged), name, demo, quant })
}

/// A file that JavaScript reads: in OPFS, or on a server that supports ranges.
struct JsFile {
    size: u64,
    this: JsValue,
    read: Function,
}

impl ByteSource for JsFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        let asked = self.read.call2(&self.this, &(offset as f64).into(), &(len as f64).into());
        Box::pin(async move {
            let promise = Promise::resolve(&asked.map_err(unreadable)?);
            let bytes = Uint8Array::new(&JsFuture::from(promise).await.map_err(unreadable)?);
            if bytes.length() as usize != len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(bytes.to_vec())
        })
    }
}
