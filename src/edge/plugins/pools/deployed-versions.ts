import type { SqlTables } from '../../durable/tables.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import type { DeployedVersion } from './contracts/pool.ts';

/** The key in `meta` of the versions. */
const VERSIONS = 'versions';
/** The most changes that are stored. The oldest are dropped. */
const MAX_STORED = 50;

/** Keeps when the deployed version has changed, as far as the deployment's pool has run in it. It writes nothing between changes. */
export class DeployedVersionList {
  readonly #tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue'>;
  readonly #current: string | undefined;
  #isRecorded = false;

  /** @param current the id of the version that runs; undefined without the binding for it */
  constructor(tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue'>, current: string | undefined) {
    this.#tables = tables;
    this.#current = current;
  }

  /** Notes that the current version runs, unless it was the last one. */
  recordCurrentVersion(now: number): void {
    if (this.#isRecorded || !this.#current) return;
    const before = this.listVersions();
    if (before.at(-1)?.id !== this.#current) {
      const versions = [...before, { id: this.#current, since: toIsoTime(now) }].slice(-MAX_STORED);
      this.#tables.writeMetaValue(VERSIONS, JSON.stringify(versions));
    }
    this.#isRecorded = true;
  }

  /** @returns the versions, the oldest first. A version that was deployed again is listed again */
  listVersions(): DeployedVersion[] {
    return JSON.parse(this.#tables.readMetaValue(VERSIONS) ?? '[]') as DeployedVersion[];
  }
}
