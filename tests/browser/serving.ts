// `alignatt serve` for the tests, connections that break, and viewers that are no browsers.

import { type ChildProcess, spawn } from 'node:child_process';
import { get, type IncomingMessage } from 'node:http';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { BINARY, MODELS } from './native.js';

/** A server with the demo pack on the CPU. */
export class Serving {
  port = 0;
  readonly #arguments: string[];
  #process: ChildProcess | undefined;

  private constructor(args: string[]) {
    this.#arguments = args;
  }

  static async start(...args: string[]): Promise<Serving> {
    const serving = new Serving(args);
    await serving.again();
    return serving;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it, or starts it again where it was. */
  async again(): Promise<void> {
    const args = ['serve', '--device', 'cpu', '--listen', `127.0.0.1:${this.port}`, ...MODELS, ...this.#arguments];
    this.#process = spawn(BINARY, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    for await (const line of createInterface({ input: this.#process.stderr! })) {
      const [, port] = /serving at .*:(\d+)\//.exec(line) ?? [];
      if (!port) continue;
      this.port = Number(port);
      this.#process.stderr!.resume();
      return;
    }
    throw new Error('the server ended before it could be used');
  }

  /** Ends it as a crash does. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    if (!process || process.exitCode !== null) return;
    const gone = new Promise((done) => process.once('exit', done));
    process.kill('SIGKILL');
    await gone;
  }
}

/** A line between browsers and a server, which can be cut, or be dead without saying so. */
export class Wire {
  readonly #server: Server;
  readonly #ends = new Set<Socket>();
  #down = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async to(serving: Serving): Promise<Wire> {
    const server = createServer({ pauseOnConnect: true });
    const wire = new Wire(server);
    server.on('connection', (near) => wire.#join(near, serving.port));
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return wire;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Breaks every connection. With `down`, new ones are refused until `up`. */
  cut({ down = false } = {}): void {
    this.#down = down;
    for (const end of this.#ends) end.destroy();
  }

  up(): void {
    this.#down = false;
  }

  /** From now on nothing passes on the connections that there are, and neither end is told. */
  hold(): void {
    for (const end of this.#ends) {
      end.unpipe();
      end.pause();
    }
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((done) => this.#server.close(done));
  }

  #join(near: Socket, port: number): void {
    if (this.#down) return void near.destroy();
    const far = connect(port, '127.0.0.1');
    for (const [one, other] of [[near, far], [far, near]] as const) {
      this.#ends.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        this.#ends.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }
}

/** A viewer that notes when the records arrive. */
export class Viewer {
  /** When each record had arrived, in milliseconds. */
  readonly at = new Map<number, number>();
  /** The whole committed text of each segment. */
  readonly text = new Map<number, string>();
  readonly ended: Promise<void>;

  /** `from`: the address of this end, of which each may have a number of connections. */
  constructor(events: string, from: string) {
    this.ended = new Promise((done, fail) => {
      const request = get(events, { agent: false, localAddress: from }, (answer: IncomingMessage) => {
        if (answer.statusCode !== 200) return fail(new Error(`status ${answer.statusCode}`));
        let rest = '';
        answer.setEncoding('utf8');
        answer.on('data', (text: string) => {
          const messages = (rest + text).split('\n\n');
          rest = messages.pop() ?? '';
          for (const message of messages) if (this.#take(message)) done();
        });
        answer.on('end', () => done());
      });
      request.on('error', fail);
    });
  }

  #take(message: string): boolean {
    const [, kind] = /^event: ?(\w+)$/m.exec(message) ?? [];
    const [, id] = /^id: ?(\d+)$/m.exec(message) ?? [];
    const [, data] = /^data: ?(.*)$/m.exec(message) ?? [];
    if (id) this.at.set(Number(id), performance.now());
    if (kind === 'target' && data) {
      const { segment, committed } = JSON.parse(data) as { segment: number; committed: string };
      this.text.set(segment, committed);
    }
    return kind === 'end';
  }
}
