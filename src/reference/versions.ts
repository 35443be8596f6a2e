import { listSchema } from '../schemas/page.ts';
import { nameRow, versionRow } from '../schemas/versions.ts';

/** Pages of what is stored in versions, the same for every kind. */
export const nameList = listSchema(nameRow.meta({ id: 'Name' })).meta({ id: 'NameList' });
export const versionList = listSchema(versionRow.meta({ id: 'Version' })).meta({ id: 'VersionList' });
