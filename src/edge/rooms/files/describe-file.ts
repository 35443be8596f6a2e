import type * as z from '../../kit/http/zod.ts';
import type { FileDescription } from '../../money/contracts/belongings.ts';
import { describedFile } from './files.schema.ts';

/** @returns a file as its account keeps it */
function fileDescription(file: z.output<typeof describedFile>): FileDescription {
  const at = file.expires_at === undefined || file.expires_at === null ? Number.NaN : Date.parse(file.expires_at);
  return { id: file.id, bytes: file.size_bytes, expiresAt: Number.isNaN(at) ? null : at, text: JSON.stringify(file) };
}

/** @returns a file as its account keeps it; undefined for what does not describe one */
export function readDescription(answer: unknown): FileDescription | undefined {
  const { data } = describedFile.safeParse(answer);
  return data && fileDescription(data);
}
