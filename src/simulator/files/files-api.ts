import { computeDigest, createApiIdentifier, type Digest } from '../random/digest.ts';
import { ApiError, createInvalidRequestError } from '../request/errors.ts';
import { createPage, createSinglePage, parsePageLimit } from '../request/page.ts';
import { requireContentLengthWithin } from '../request/request-body.ts';
import { PieceWriter, readStoredBody, removeStoredBody } from '../store/pieces.ts';
import { RecordStore, type StoredRecord } from '../store/records.ts';
import type { SimulatorStore } from '../store/store.ts';

interface StoredFile extends StoredRecord {
  filename: string;
  mimeType: string;
  bytes: number;
  pieces: number;
  downloadable: boolean;
  /** Milliseconds since the epoch; null where it never expires. */
  expiresAt: number | null;
}

/** The API's limit for a file, in bytes: https://platform.claude.com/docs/en/api/errors */
const MAX_UPLOAD_BYTES = 500 * 1024 * 1024;
const MAX_IDS = 100;
const MIN_EXPIRY_SECONDS = 3_600;
const MAX_EXPIRY_SECONDS = 7_776_000;
/** A year: the simulator is for development. */
const FILE_RETENTION_SECONDS = 31_536_000;

export interface FileRequestContext {
  owner: string;
  /** Milliseconds since the epoch. */
  now: number;
}

/** A file whose bytes will be sent down. */
export interface FileDownload {
  content: AsyncGenerator<Uint8Array>;
  headers: Record<string, string>;
}

function createFileResponse({ id, filename, mimeType, bytes, createdAt, downloadable, expiresAt }: StoredFile) {
  return {
    type: 'file',
    id,
    filename,
    mime_type: mimeType,
    size_bytes: bytes,
    created_at: new Date(createdAt).toISOString(),
    downloadable,
    expires_at: expiresAt === null ? null : new Date(expiresAt).toISOString(),
  };
}

/** @returns the last component of a name that may be a path. */
function getBaseName(filename: string): string {
  return filename.slice(Math.max(filename.lastIndexOf('/'), filename.lastIndexOf('\\')) + 1);
}

function parseExpirySeconds(text: string): number {
  const seconds = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(seconds)) throw createInvalidRequestError('expires_in_seconds: Input should be a valid integer');
  if (seconds < MIN_EXPIRY_SECONDS || seconds > MAX_EXPIRY_SECONDS) {
    throw createInvalidRequestError(
      `expires_in_seconds: Input should be from ${MIN_EXPIRY_SECONDS} to ${MAX_EXPIRY_SECONDS}`,
    );
  }
  return seconds;
}

/** The files of the simulator, kept in a store. */
export class FilesApi {
  readonly #store: SimulatorStore;
  readonly #records: RecordStore<StoredFile>;

  constructor(store: SimulatorStore) {
    this.#store = store;
    this.#records = new RecordStore(store, 'file', FILE_RETENTION_SECONDS);
  }

  /**
   * Keeps the file of a form.
   *
   * @param downloadable whether it can be read again, as if a tool had made it
   * @throws ApiError in the API's words if the form is malformed
   */
  async uploadFile(
    request: Request,
    { owner, now }: FileRequestContext,
    { nonce, downloadable }: { nonce: Digest; downloadable: boolean },
  ): Promise<Record<string, unknown>> {
    const id = createApiIdentifier('file_', computeDigest('file', nonce));
    const writer = new PieceWriter(this.#store, id, FILE_RETENTION_SECONDS);
    return await writer.runAndRemoveOnFailure(async () => {
      const read = await this.#readUploadedFile(request, writer);
      const { filename, mimeType, bytes, expiresIn } = read;
      const expiresAt = expiresIn === undefined ? null : now + expiresIn * 1000;
      const pieces = await writer.finishWriting();
      const file = { id, createdAt: now, filename, mimeType, bytes, pieces, downloadable, expiresAt };
      await this.#records.saveRecord(owner, file);
      return createFileResponse(file);
    });
  }

  async #readUploadedFile(request: Request, writer: PieceWriter) {
    requireContentLengthWithin(request.headers, MAX_UPLOAD_BYTES);
    const form = await request.formData().catch(() => {
      throw createInvalidRequestError('The form is malformed: it must be multipart/form-data, up to its last boundary');
    });
    const other = [...form.keys()].find((name) => name !== 'file' && name !== 'expires_in_seconds');
    if (other !== undefined) throw createInvalidRequestError(`${other.slice(0, 100)}: Extra inputs are not permitted`);
    const [file, second] = form.getAll('file');
    if (file === undefined) throw createInvalidRequestError('file: Field required');
    if (second !== undefined) throw createInvalidRequestError('file: Only one file may be uploaded');
    if (typeof file === 'string') throw createInvalidRequestError('file: Expected UploadFile');
    if (file.size > MAX_UPLOAD_BYTES) throw new ApiError(413, 'File exceeds the maximum size of 500 MB');
    const filename = getBaseName(file.name) || 'unnamed';
    if (filename.length > 500) throw createInvalidRequestError('filename: String should have at most 500 characters');
    const seconds = form.get('expires_in_seconds');
    await writer.writeBytes(new Uint8Array(await file.arrayBuffer()));
    return {
      filename,
      mimeType: file.type || 'application/octet-stream',
      bytes: file.size,
      expiresIn: seconds === null ? undefined : parseExpirySeconds(String(seconds)),
    };
  }

  /** Lists files newest first: by `page` as newer clients ask, by `after_id` and `before_id`, or only those of `ids`. */
  async listFiles(query: URLSearchParams, { owner, now }: FileRequestContext): Promise<Record<string, unknown>> {
    const all = await this.#records.listIds(owner);
    const ids = [...query.getAll('ids[]'), ...query.getAll('ids')];
    if (ids.length > 0) {
      if (query.has('page') || query.has('limit'))
        throw createInvalidRequestError('ids: not allowed with page or limit');
      const wanted = new Set(ids);
      if (wanted.size > MAX_IDS)
        throw createInvalidRequestError(`ids: List should have at most ${MAX_IDS} items after validation`);
      return { ...createSinglePage(await this.#listFileResponses(owner, [...wanted], now), false), next_page: null };
    }
    const cursor = query.get('page');
    const parameters = new URLSearchParams({ limit: String(parsePageLimit(query)) });
    for (const name of ['after_id', 'before_id']) {
      const value = query.get(name);
      if (value !== null) parameters.set(name, value);
    }
    if (cursor !== null) parameters.set('after_id', /^page_(.+)$/.exec(cursor)?.[1] ?? cursor);
    const page = createPage(all, parameters, 'file');
    const next = page.has_more && !query.has('before_id') ? `page_${page.last_id}` : null;
    const found = page.data.map(({ id }) => id);
    return { ...page, data: await this.#listFileResponses(owner, found, now), next_page: next };
  }

  async retrieveFile(id: string, { owner, now }: FileRequestContext): Promise<Record<string, unknown>> {
    return createFileResponse(await this.#requireFile(owner, id, now));
  }

  async deleteFile(id: string, { owner, now }: FileRequestContext): Promise<Record<string, unknown>> {
    const file = await this.#requireFile(owner, id, now);
    await this.#records.removeRecord(owner, file);
    await removeStoredBody(this.#store, id, file.pieces);
    return { id, type: 'file_deleted' };
  }

  /** @throws ApiError 400 for a file that was uploaded: only those that tools have made can be read */
  async downloadFile(id: string, { owner, now }: FileRequestContext): Promise<FileDownload> {
    const file = await this.#requireFile(owner, id, now);
    if (!file.downloadable) {
      throw new ApiError(400, `File '${id}' is not downloadable`, {}, { error_code: 'file_not_downloadable' });
    }
    const headers = { 'content-type': file.mimeType, 'content-length': String(file.bytes) };
    return { content: readStoredBody(this.#store, id, file.pieces), headers };
  }

  async #listFileResponses(owner: string, ids: readonly string[], now: number) {
    const files = await Promise.all(ids.map((id) => this.#records.findRecord(owner, id)));
    return files.flatMap((file) => (file && !isFileExpired(file, now) ? [createFileResponse(file)] : []));
  }

  async #requireFile(owner: string, id: string, now: number): Promise<StoredFile> {
    const file = await this.#records.findRecord(owner, id);
    if (!file) throw new ApiError(404, `File not found: ${id.slice(0, 100)}`);
    if (isFileExpired(file, now)) {
      throw new ApiError(404, `File '${id}' has expired`, {}, { error_code: 'file_expired' });
    }
    return file;
  }
}

function isFileExpired({ expiresAt }: StoredFile, now: number): boolean {
  return expiresAt !== null && now >= expiresAt;
}
