import { listSchema } from '../http/page.ts';
import * as z from '../http/zod.ts';
import { nameRow, versionRow } from './versions-answers.schema.ts';

/** Pages of what is stored in versions, the same for every kind. */
export const nameList = z.withMeta(listSchema(z.withMeta(nameRow, { id: 'Name' })), { id: 'NameList' });
export const versionList = z.withMeta(listSchema(z.withMeta(versionRow, { id: 'Version' })), { id: 'VersionList' });
