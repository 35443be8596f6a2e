import { decoder, encoder } from '../text/utf8.ts';
import type { SimulatorStore } from './store.ts';

/** The fields of every record: an id, and when it was created, in milliseconds since the epoch. */
export interface StoredRecord {
  id: string;
  createdAt: number;
}

/** Later than any time that a date can have. */
const END_OF_TIME = 8_640_000_000_000_000;

/** The records of one kind: each belongs to an owner, who finds it by its id, and lists them newest first. */
export class RecordStore<Record extends StoredRecord> {
  readonly #store: SimulatorStore;
  readonly #kind: string;
  readonly #seconds: number;

  /** @param seconds how long a record is kept after it was last written */
  constructor(store: SimulatorStore, kind: string, seconds: number) {
    this.#store = store;
    this.#kind = kind;
    this.#seconds = seconds;
  }

  async findRecord(owner: string, id: string): Promise<Record | undefined> {
    const bytes = await this.#store.get(this.#createRecordKey(owner, id));
    return bytes && (JSON.parse(decoder.decode(bytes)) as Record);
  }

  /** Writes a record. It is found before it is listed. */
  async saveRecord(owner: string, record: Record): Promise<void> {
    await this.#store.put(
      this.#createRecordKey(owner, record.id),
      encoder.encode(JSON.stringify(record)),
      this.#seconds,
    );
    await this.#store.put(this.#createListKey(owner, record), new Uint8Array(), this.#seconds);
  }

  async removeRecord(owner: string, record: Record): Promise<void> {
    await this.#store.delete(this.#createListKey(owner, record));
    await this.#store.delete(this.#createRecordKey(owner, record.id));
  }

  /** @returns the ids of an owner's records, newest first. */
  async listIds(owner: string): Promise<{ id: string }[]> {
    const prefix = this.#createListPrefix(owner);
    const keys = await this.#store.listKeys(prefix);
    return keys.map((key) => ({ id: key.slice(key.lastIndexOf(':') + 1) }));
  }

  #createRecordKey(owner: string, id: string): string {
    return `${this.#kind}:${owner}:${id}`;
  }

  #createListPrefix(owner: string): string {
    return `${this.#kind}-list:${owner}:`;
  }

  #createListKey(owner: string, { id, createdAt }: StoredRecord): string {
    return `${this.#createListPrefix(owner)}${String(END_OF_TIME - createdAt).padStart(16, '0')}:${id}`;
  }
}
