import type { SimulatorStore } from './store.ts';

const MAX_PIECE_BYTES = 4 * 1024 * 1024;

/** Writes a body in pieces while it arrives in, so that no more than one piece is in memory. */
export class PieceWriter {
  readonly #store: SimulatorStore;
  readonly #name: string;
  readonly #seconds: number;
  #piece = new Uint8Array(0);
  #length = 0;
  #writtenCount = 0;

  /** @param name what the pieces belong to; @param seconds how long they are kept */
  constructor(store: SimulatorStore, name: string, seconds: number) {
    this.#store = store;
    this.#name = name;
    this.#seconds = seconds;
  }

  async writeBytes(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; ) {
      const part = bytes.subarray(at, at + MAX_PIECE_BYTES - this.#length);
      this.#appendToPiece(part);
      at += part.byteLength;
      if (this.#length === MAX_PIECE_BYTES) await this.#storePiece();
    }
  }

  /** Writes what is left. @returns the number of pieces */
  async finishWriting(): Promise<number> {
    if (this.#length > 0) await this.#storePiece();
    return this.#writtenCount;
  }

  /** Does the work that writes the body. Where the body is rejected after all, what was written is removed. */
  async runAndRemoveOnFailure<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      await removeStoredBody(this.#store, this.#name, this.#writtenCount);
      throw error;
    }
  }

  #appendToPiece(part: Uint8Array): void {
    const needed = this.#length + part.byteLength;
    if (needed > this.#piece.byteLength) {
      const grown = new Uint8Array(Math.min(MAX_PIECE_BYTES, Math.max(needed, this.#piece.byteLength * 2)));
      grown.set(this.#piece.subarray(0, this.#length));
      this.#piece = grown;
    }
    this.#piece.set(part, this.#length);
    this.#length = needed;
  }

  async #storePiece(): Promise<void> {
    const piece = this.#piece.subarray(0, this.#length);
    this.#piece = new Uint8Array(0);
    this.#length = 0;
    await this.#store.put(createPieceKey(this.#name, this.#writtenCount), piece, this.#seconds);
    this.#writtenCount++;
  }
}

/**
 * Reads a body, a piece at a time.
 *
 * @throws Error if a piece is gone: the body was deleted meanwhile
 */
export async function* readStoredBody(store: SimulatorStore, name: string, count: number): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index++) {
    const piece = await store.get(createPieceKey(name, index));
    if (piece === undefined) throw new Error(`the simulator no longer has ${name}`);
    yield piece;
  }
}

export async function removeStoredBody(store: SimulatorStore, name: string, count: number): Promise<void> {
  for (let index = 0; index < count; index++) await store.delete(createPieceKey(name, index));
}

function createPieceKey(name: string, index: number): string {
  return `piece:${name}:${String(index).padStart(6, '0')}`;
}
