// alignatt in the browser. README.md has a working example of ten lines.

export { check, type Adapter, type Capabilities } from './capabilities.js';
export { microphone, tab } from './devices.js';
export { AlignattError, type ErrorCode } from './errors.js';
export type * from './events.js';
export type { Access } from './hub.js';
export { models, type FetchOptions, type StoredModel } from './models.js';
export type { Model } from './place.js';
export type { FetchProgress, Progress } from './progress.js';
export type { DeviceInfo, DeviceReport, Stats } from './protocol.js';
export type { Source, Text } from './sources.js';
export { Translator, type LoadOptions, type StreamOptions } from './translator.js';
