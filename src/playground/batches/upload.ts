/** What was read from a file: requests as the API has them, or rows for which a prompt is still to be written. */

/** The most requests of a batch. */
export const MOST_REQUESTS = 100_000;
/** The most faults that are told; one who has more has made one mistake many times. */
const MOST_FAULTS = 5;

/** Requests as they go up. Their bytes are the browser's to keep, so that a large file does not fill the page's memory. */
interface ItemsUpload {
  kind: 'items';
  name: string;
  count: number;
  body: Blob;
}

/** Rows of texts, under the names of their columns. */
export interface RowsUpload {
  kind: 'rows';
  name: string;
  columns: string[];
  rows: string[][];
}

export type Upload = ItemsUpload | RowsUpload;

/** Says why a file cannot go up. Its message is for the user. */
export class UploadError extends Error {
  override name = 'UploadError';
}

/** Collects what is wrong with a file, and throws it as one sentence for each of the first. */
export class Faults {
  readonly #first: string[] = [];
  #count = 0;

  /** @param where the line or the row, counted as an editor counts */
  add(where: string, what: string): void {
    this.#count += 1;
    if (this.#count <= MOST_FAULTS) this.#first.push(`${where}: ${what}`);
  }

  /** @throws UploadError if anything was wrong */
  throwIfAny(): void {
    if (this.#count === 0) return;
    const more = this.#count - this.#first.length;
    const rest = more === 0 ? '' : ` And ${more} more like these.`;
    throw new UploadError(`${this.#first.join(' ')}${rest} Correct the file and choose it again.`);
  }
}

/** Builds the body of a batch piece by piece, and hands the pieces to the browser. */
export class BodyBuilder {
  readonly #faults = new Faults();
  readonly #ids = new Set<string>();
  readonly #blobs: Blob[] = [];
  #texts: string[] = [];
  #characters = 0;

  /** Adds a request. @param where where it comes from, for an error */
  add(where: string, id: unknown, json: () => string | undefined): void {
    if (typeof id !== 'string' || !/^[a-zA-Z0-9_-]{1,64}$/.test(id)) {
      this.#faults.add(where, 'its custom_id must be 1 to 64 letters, digits, “_” or “-”.');
      return;
    }
    if (this.#ids.has(id)) {
      this.#faults.add(where, `the custom_id ${id} is used twice, and each request needs its own.`);
      return;
    }
    const text = json();
    if (text === undefined) return;
    this.#texts.push(this.#ids.size === 0 ? '' : ',', text);
    this.#ids.add(id);
    this.#characters += text.length;
    if (this.#characters >= 1_048_576) this.#flush();
  }

  /** Notes a request that cannot be added. */
  fault(where: string, what: string): void {
    this.#faults.add(where, what);
  }

  /** @throws UploadError if a request could not be added, or there is none, or there are too many */
  end(): { count: number; body: Blob } {
    this.#faults.throwIfAny();
    const count = this.#ids.size;
    if (count === 0) throw new UploadError('This file has no requests. Choose another one.');
    if (count > MOST_REQUESTS) {
      throw new UploadError(
        `A batch takes ${MOST_REQUESTS.toLocaleString('en')} requests at most, and this file has ${count.toLocaleString('en')}. Split it.`,
      );
    }
    this.#flush();
    return { count, body: new Blob(['{"requests":[', ...this.#blobs, ']}'], { type: 'application/json' }) };
  }

  #flush(): void {
    this.#blobs.push(new Blob(this.#texts));
    this.#texts = [];
    this.#characters = 0;
  }
}

/** Lets the page draw and answer the keyboard between two pieces of work. */
export async function breathe(): Promise<void> {
  await new Promise<void>((resolve) => setTimeout(resolve));
}
