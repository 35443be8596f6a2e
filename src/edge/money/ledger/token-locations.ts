/**
 * Keeps from where the tokens of an account are used, per hour.
 *
 * A request that has a row in the ledger carries its location there, if no earlier request of the hour has. A fold moves the
 * locations to their own table, so that they cost no single request a row.
 */
import type { TokenLocation } from '../../auth/identity/token-location.ts';
import { TableRowsBase } from '../../durable/rows.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { createLruCache } from '../../kit/cache/lru.ts';
import type { CredentialClaims } from '../contracts/admission.ts';

/** How many locations of a token are kept for an hour. A client can claim to be any other. */
const MAX_LOCATIONS_PER_HOUR = 8;
/** How many locations are kept of a token: the latest, which is every hour of three weeks from one place. */
export const MAX_LOCATIONS_PER_TOKEN = 500;
/** How many tokens an object remembers, each with the locations of its latest hour. */
const MAX_REMEMBERED_TOKENS = 1_000;

export const TOKEN_LOCATIONS_SQL = `
  create table token_locations (
    jti text not null,
    hour integer not null,
    location text not null,
    primary key (jti, hour, location)
  ) strict, without rowid;`;

type LocatedRow = { jti: string; location: string };

/** Keeps the locations of an account's tokens. */
export class TokenLocationTable extends TableRowsBase {
  /** The locations that were recorded since the object woke. */
  readonly #recorded = createLruCache<string, { hour: number; locations: Set<string> }>(MAX_REMEMBERED_TOKENS);
  readonly #getFoldMarker: () => string;
  /** The earliest hour in the table, or an earlier one; undefined if it is not known. */
  #oldestHour: number | undefined;

  /** @param getFoldMarker returns the id of the last row of the ledger whose location is in the table */
  constructor(tables: SqlTables, getFoldMarker: () => string) {
    super(tables);
    this.#getFoldMarker = getFoldMarker;
  }

  /** @returns the location of a request as text, if it should be recorded: not twice, and not too many in an hour */
  findUnrecordedLocation(token: CredentialClaims | undefined): string | undefined {
    const { jti, location } = token ?? {};
    if (jti === undefined || location === undefined) return undefined;
    const recorded = this.#recorded.get(jti);
    const text = serializeLocation(location);
    if (recorded?.hour !== location.hour) return text;
    const isFull = recorded.locations.size >= MAX_LOCATIONS_PER_HOUR;
    return isFull || recorded.locations.has(text) ? undefined : text;
  }

  /** Records that a location is stored, so that no other request of the hour stores it. Call it after the write. */
  markRecorded(jti: string, location: string): void {
    const { hour } = parseLocation(location);
    const recorded = this.#recorded.get(jti);
    if (recorded?.hour === hour) recorded.locations.add(location);
    else this.#recorded.set(jti, { hour, locations: new Set([location]) });
  }

  /** Records the location of a request without a row in the ledger. @returns whether it is stored now */
  recordLocation(token: CredentialClaims): boolean {
    const text = this.findUnrecordedLocation(token);
    if (token.jti === undefined || text === undefined) return false;
    const isStored = this.storeLocation({ jti: token.jti, location: text });
    this.markRecorded(token.jti, text);
    return isStored;
  }

  /** Moves the locations of the rows after a marker into the table. Call it in the transaction that moves the marker. */
  moveLocationsOfRowsAfter(marker: string): void {
    for (const row of this.#readLocationsAfter(marker)) this.storeLocation(row);
  }

  /** Stores a location, unless the token is not listed, or has too many in the hour. @returns whether it was stored */
  storeLocation({ jti, location }: LocatedRow): boolean {
    const { hour } = parseLocation(location);
    const written = this.tables.runWriteStatement(
      `insert or ignore into token_locations (jti, hour, location) select ?1, ?2, ?3
       where exists (select 1 from tokens where jti = ?1)
         and (select count(*) from token_locations where jti = ?1 and hour = ?2) < ${MAX_LOCATIONS_PER_HOUR}`,
      jti,
      hour,
      location,
    );
    if (written === 0) return false;
    if (this.#oldestHour !== undefined) this.#oldestHour = Math.min(this.#oldestHour, hour);
    this.tables.runWriteStatement(
      `delete from token_locations where jti = ?1 and hour <= (
         select hour from token_locations where jti = ?1 order by hour desc limit 1 offset ${MAX_LOCATIONS_PER_TOKEN}
       )`,
      jti,
    );
    return true;
  }

  #readLocationsAfter(marker: string): LocatedRow[] {
    return this.tables.readAllRows<LocatedRow>(
      'select distinct token as jti, location from ledger where id > ? and location is not null',
      marker,
    );
  }

  /** @returns the latest locations of each token, the newest first. @param limit how many of each */
  listLocations(jtis: readonly string[], limit: number): Map<string, TokenLocation[]> {
    const unfolded = Map.groupBy(this.#readLocationsAfter(this.#getFoldMarker()), ({ jti }) => jti);
    return new Map(
      jtis.map((jti) => {
        const folded = this.tables.readAllRows<LocatedRow>(
          'select jti, location from token_locations where jti = ? order by hour desc, location limit ?',
          jti,
          limit,
        );
        // An object that has restarted may have recorded more locations in its newest rows than an hour may have, so both lists
        // are merged and cut to the limit.
        const texts = new Set([...folded, ...(unfolded.get(jti) ?? [])].map(({ location }) => location));
        // Sort within an hour, too: the ids of requests in one millisecond have no order.
        const byHour = Map.groupBy([...texts].toSorted().map(parseLocation), ({ hour }) => hour);
        const latestHours = [...byHour].sort(([left], [right]) => right - left);
        return [
          jti,
          latestHours.flatMap(([, locations]) => locations.slice(0, MAX_LOCATIONS_PER_HOUR)).slice(0, limit),
        ];
      }),
    );
  }

  /** Deletes the locations of hours that began before a time; milliseconds since 1970. @returns when the oldest other hour began */
  deleteLocationsBefore(time: number): number | undefined {
    const firstHour = Math.ceil(time / HOUR_MS);
    if (this.#oldestHour === undefined || this.#oldestHour < firstHour) {
      this.tables.runWriteStatement('delete from token_locations where hour < ?', firstHour);
      this.#oldestHour = this.tables.queryNumber('select min(hour) from token_locations');
    }
    return this.#oldestHour === undefined ? undefined : this.#oldestHour * HOUR_MS;
  }
}

function serializeLocation({ hour, country, asn, client }: TokenLocation): string {
  return [hour, country ?? '-', asn ?? '-', client].join(' ');
}

function parseLocation(text: string): TokenLocation {
  const [hour, country = '-', asn = '-', client] = text.split(' ');
  return {
    hour: Number(hour),
    country: country === '-' ? null : country,
    asn: asn === '-' ? null : Number(asn),
    client: client as TokenLocation['client'],
  };
}
