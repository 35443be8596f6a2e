import { toHex } from '../http/bytes.ts';

/** Computes the SHA-256 of a body while it is read. */
export class BodyDigest {
  readonly #stream = new crypto.DigestStream('SHA-256');
  readonly #writer = this.#stream.getWriter();

  async add(piece: Uint8Array): Promise<void> {
    await this.#writer.write(piece);
  }

  async end(): Promise<string> {
    await this.#writer.close();
    return toHex(new Uint8Array(await this.#stream.digest));
  }
}
