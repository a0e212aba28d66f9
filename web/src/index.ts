// alignatt in the browser. README.md has a working example of ten lines.

export { check, type Adapter, type Capabilities } from './capabilities.js';
export { AlignattError, type ErrorCode } from './errors.js';
export type * from './events.js';
export type { Access } from './hub.js';
export { models, type FetchOptions, type StoredModel } from './models.js';
export type { Model } from './place.js';
export type { FetchProgress, Progress } from './progress.js';
export type { DeviceInfo, DeviceReport, Stats } from './protocol.js';
export { microphone, tab, type Source, type Text } from './sources.js';
export { Translator, type LoadOptions, type StreamOptions } from './translator.js';
