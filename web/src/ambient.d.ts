// Declarations of browser interfaces that this package uses and TypeScript's DOM library lacks.
// They are in TypeScript's library for workers, which cannot be loaded together with the DOM
// library.

interface FileSystemSyncAccessHandle {
  read(into: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  write(from: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}

interface FileSystemFileHandle {
  createSyncAccessHandle(): Promise<FileSystemSyncAccessHandle>;
  /**
   * Renames within its folder. Every browser with OPFS has it; the DOM library does not declare it
   * yet.
   */
  move(name: string): Promise<void>;
}

interface DedicatedWorkerScope extends EventTarget {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown, transfer?: Transferable[]): void;
}

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}

declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;
