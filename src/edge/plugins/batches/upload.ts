/**
 * Sends the body of a create while it is still being read. Until its last bytes have been sent there is no batch: an aborted
 * body is neither complete nor valid JSON.
 */

import { encoder } from '../../kit/http/bytes.ts';
import { ApiError, createRetryableError, createTooLargeError } from '../../kit/http/errors.ts';
import { LONG_ITEM } from './batch-body.ts';

/** The most bytes that the API accepts, including prefixes. */
const MOST_UPLOADED = 256 * 1024 * 1024;
/** Nothing is sent before this many bytes were checked, so that an early refusal does not call the upstream at all. */
const FIRST_BYTES = 1024 * 1024;
/** If an upstream accepts no byte for this time, it has failed. Milliseconds. */
const STALLED_MS = 120_000;
/** Short items are sent together, in pieces of this many bytes. */
const TOGETHER_BYTES = LONG_ITEM;

const BEFORE = encoder.encode('{"requests":[');
const BETWEEN = encoder.encode(',');

/** Sends a body. @param signal aborted if the upload is given up */
type SendUploadBody = (body: ReadableStream, signal: AbortSignal) => Promise<Response>;

/** Thrown if an answer comes before the end of the body: the upstream has refused it. */
export class UploadRejectedEarlyError extends Error {
  readonly response: Response;

  constructor(response: Response) {
    super();
    this.response = response;
  }
}

/** Writes the body of a create to the upstream. */
export class Upload {
  readonly #send: SendUploadBody;
  readonly #controller = new AbortController();
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #piece = new Uint8Array(TOGETHER_BYTES);
  #filled = 0;
  #bytes = 0;
  #items = 0;
  #writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #answer: Promise<Response> | undefined;

  constructor(send: SendUploadBody) {
    this.#send = send;
  }

  /**
   * Adds an item.
   *
   * @throws ApiError 413 if all items together are more than the upstream accepts
   * @throws UploadRejectedEarlyError, ApiError 503 for a connection that fails
   */
  async addItem(pieces: readonly Uint8Array[]): Promise<void> {
    const between = this.#items === 0 ? BEFORE : BETWEEN;
    this.#items += 1;
    let length = between.length;
    for (const piece of pieces) length += piece.length;
    this.#bytes += length;
    if (this.#bytes > MOST_UPLOADED) throw createTooLargeError(MOST_UPLOADED);
    await this.#bufferBytes(between);
    for (const piece of pieces) await this.#bufferBytes(piece);
  }

  /**
   * Sends everything except the end of the body, which has only a few bytes.
   *
   * @throws UploadRejectedEarlyError, ApiError 503 for a connection that fails
   */
  async sendAllButEnd(): Promise<void> {
    await this.#sendBuffered();
    await this.#waitForDrain();
  }

  /**
   * Sends the end of the body.
   *
   * @param others the JSON text of each member after the list, by its key
   * @param timeoutMs how many milliseconds the answer may take
   * @returns the upstream's answer
   */
  async sendEnd(others: ReadonlyMap<string, string>, timeoutMs: number): Promise<Response> {
    const members = Array.from(others, ([key, text]) => `,${JSON.stringify(key)}:${text}`).join('');
    const timer = setTimeout(() => this.abortUpload(), timeoutMs);
    try {
      const answer = this.#startUpload().answer;
      await this.#writeBytes(encoder.encode(`]${members}}`));
      const closed = this.#startUpload().writer.close();
      // Wait for the response, too: the upstream may respond before it has read the whole body, and then `close()` may never
      // resolve.
      await Promise.race([closed, answer]).catch(ignoreUploadFailure);
      return await answer;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Gives up the upload: closes the connection before the end of the body. */
  abortUpload(): void {
    this.#controller.abort();
    this.#writer?.abort().catch(ignoreUploadFailure);
    this.#answer?.then((response) => response.body?.cancel()).catch(ignoreUploadFailure);
    this.#waiting = [];
  }

  async #bufferBytes(bytes: Uint8Array): Promise<void> {
    if (bytes.length > TOGETHER_BYTES) {
      await this.sendAllButEnd();
      // Send large items without copying them into the buffer, which would double the memory.
      await this.#writeBytes(bytes);
      return;
    }
    if (this.#filled + bytes.length > TOGETHER_BYTES) await this.#sendBuffered();
    this.#piece.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  /** Sends the collected bytes. Until the upload begins, they are kept. */
  async #sendBuffered(): Promise<void> {
    if (this.#filled === 0) return;
    const together = this.#piece.subarray(0, this.#filled);
    this.#filled = 0;
    if (this.#writer) return await this.#writeBytes(together);
    this.#waiting.push(together.slice());
    this.#waitingBytes += together.length;
    if (this.#waitingBytes >= FIRST_BYTES) await this.#waitForDrain();
  }

  async #waitForDrain(): Promise<void> {
    const all = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const piece of all) await this.#writeBytes(piece);
  }

  async #writeBytes(bytes: Uint8Array): Promise<void> {
    const { writer, answer } = this.#startUpload();
    const timer = setTimeout(() => this.abortUpload(), STALLED_MS);
    try {
      // Race with the response: a write may never resolve once its reader is gone (measured in workerd), but the response
      // always resolves or rejects.
      await Promise.race([writer.write(bytes), answer.then(throwRejectedEarly)]);
    } catch (thrown) {
      if (thrown instanceof UploadRejectedEarlyError || thrown instanceof ApiError) throw thrown;
      const message = 'The upstream did not accept the batch, so it was not created. Send it again.';
      throw createRetryableError(message, 'batch_upload', { cause: thrown });
    } finally {
      clearTimeout(timer);
    }
  }

  #startUpload(): { writer: WritableStreamDefaultWriter<Uint8Array>; answer: Promise<Response> } {
    if (!this.#writer || !this.#answer) {
      // With an `IdentityTransformStream`, a write resolves when its bytes have been read (measured), so the buffer can be
      // reused. https://developers.cloudflare.com/workers/runtime-apis/streams/transformstream/
      const { readable, writable } = new IdentityTransformStream();
      this.#writer = writable.getWriter();
      this.#writer.closed.catch(ignoreUploadFailure);
      this.#answer = this.#send(readable, this.#controller.signal);
      this.#answer.catch(ignoreUploadFailure);
    }
    return { writer: this.#writer, answer: this.#answer };
  }
}

function throwRejectedEarly(response: Response): never {
  throw new UploadRejectedEarlyError(response);
}

/** Ignores the failure here: the code that waits for the answer gets it. */
function ignoreUploadFailure(): void {}
