/** Byte streams as the Workers runtime has them, as far as answers of the upstream are read; Node's have other ways. */

type ReadResult = { value: Uint8Array; done: boolean };

/** What was written to it is read before the end, or the break, is told. */
export class ByteStream {
  #pieces: Uint8Array[] = [];
  #end: 'open' | 'closed' | { reason: unknown } = 'open';
  #notifyReader: () => void = () => {};
  /** Where everything goes on to, once it is carried on or told twice. */
  #targets: ByteStream[] = [];
  #onCancelled: () => void = () => {};
  #pipePromise: { resolve: () => void; reject: (reason: unknown) => void } | undefined;

  /** Has somebody told when nobody reads it any more. */
  onCancel(tell: () => void): void {
    this.#onCancelled = tell;
  }

  write(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#forwardPieces();
  }

  close(): void {
    if (this.#end === 'open') this.#end = 'closed';
    this.#forwardPieces();
  }

  break(reason: unknown): void {
    if (this.#end === 'open') this.#end = { reason };
    this.#forwardPieces();
  }

  async cancel(): Promise<void> {
    this.#pieces = [];
    this.#end = 'closed';
    this.#onCancelled();
    this.#notifyReader();
  }

  getReader() {
    return {
      read: (view: Uint8Array) => this.#readAtLeast(1, view),
      readAtLeast: (minBytes: number, view: Uint8Array) => this.#readAtLeast(minBytes, view),
      releaseLock: () => {},
      cancel: () => this.cancel(),
    };
  }

  tee(): [ByteStream, ByteStream] {
    const both: [ByteStream, ByteStream] = [new ByteStream(), new ByteStream()];
    let left = 2;
    for (const one of both) {
      one.onCancel(() => {
        left -= 1;
        if (left === 0) void this.cancel();
      });
    }
    this.#targets = both;
    this.#forwardPieces();
    return both;
  }

  pipeTo(to: ByteStream): Promise<void> {
    this.#targets = [to];
    to.onCancel(() => void this.cancel());
    return new Promise((resolve, reject) => {
      this.#pipePromise = { resolve, reject };
      this.#forwardPieces();
    });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const { value, done } = await this.#readAtLeast(1, new Uint8Array(65_536));
      if (done) return;
      yield value;
    }
  }

  #forwardPieces(): void {
    const end = this.#end;
    for (const onward of this.#targets) {
      for (const piece of this.#pieces) onward.write(piece);
      if (end === 'closed') onward.close();
      else if (end !== 'open') onward.break(end.reason);
    }
    if (this.#targets.length > 0) this.#pieces = [];
    if (end === 'closed') this.#pipePromise?.resolve();
    else if (end !== 'open') this.#pipePromise?.reject(end.reason);
    this.#notifyReader();
  }

  async #readAtLeast(minBytes: number, view: Uint8Array): Promise<ReadResult> {
    while (this.#end === 'open' && this.#bufferedBytes < minBytes) {
      await new Promise<void>((resolve) => {
        this.#notifyReader = resolve;
      });
    }
    if (this.#bufferedBytes === 0 && this.#end !== 'open' && this.#end !== 'closed') throw this.#end.reason;
    let length = 0;
    while (length < view.length) {
      const [piece] = this.#pieces;
      if (!piece) break;
      const part = piece.subarray(0, view.length - length);
      view.set(part, length);
      length += part.length;
      if (part.length === piece.length) this.#pieces.shift();
      else this.#pieces[0] = piece.subarray(part.length);
    }
    return { value: view.subarray(0, length), done: length === 0 };
  }

  get #bufferedBytes(): number {
    return this.#pieces.reduce((sum, { length }) => sum + length, 0);
  }
}

class IdentityStream {
  readonly readable = new ByteStream();
  readonly writable = this.readable;
}

/** @returns an answer with such a stream as its body. */
export function createByteStreamResponse(body: ByteStream, headers: Record<string, string>, status = 200): Response {
  return Object.defineProperty(new Response(null, { headers, status }), 'body', { value: body });
}

/** Gives Node what the runtime has of streams. */
export function installStreams(): void {
  Object.assign(globalThis, { IdentityTransformStream: IdentityStream });
}
