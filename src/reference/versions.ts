import { nameRow, versionRow } from '../schemas/answers/versions.ts';
import { listSchema } from '../schemas/page.ts';
import * as z from '../schemas/zod.ts';

/** Pages of what is stored in versions, the same for every kind. */
export const nameList = z.withMeta(listSchema(z.withMeta(nameRow, { id: 'Name' })), { id: 'NameList' });
export const versionList = z.withMeta(listSchema(z.withMeta(versionRow, { id: 'Version' })), { id: 'VersionList' });
