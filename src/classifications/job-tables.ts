/** The rows of one classification by batch. */

import type { ClassifyUsage } from '../classification/classify-answers.schema.ts';
import type { Choice } from '../classification/task/prompt.ts';
import type { PendingDelivery } from '../delivery/deliver-event.ts';
import type {
  ClassificationOpening,
  InputFault,
  TakenInput,
  UnknownInput,
} from '../durable/contracts/classification.ts';
import { RECORD_TABLE, type RecordKind } from '../durable/object-record.ts';
import { Tables } from '../durable/tables.ts';
import type { KeptAnswer } from '../kv/classified-answers.ts';
import type { Nanodollars } from '../pricing/cost.ts';

/**
 * `inputs`: all of them in their order, their ids as JSON, since rows hold no half of a character; those that are equal share an item. `items`: each different text by the place of its
 * first input. `texts`: what has not gone up yet. `votes`: the answers of the batch.
 */
const TABLES = `
  ${RECORD_TABLE}
  create table inputs (n integer primary key, id text not null, item integer, fault text) strict;
  create table items (n integer primary key, hash text unique, known text, kept integer not null default 0) strict;
  create table texts (n integer primary key, text text not null) strict;
  create table votes (
    item integer not null, vote integer not null, answer text not null, primary key (item, vote)
  ) strict, without rowid;`;

/** What the record of a classification is. */
export const JOB_RECORD: RecordKind = {
  name: 'classification',
  format: 'classification_batch',
  migrations: [{ version: 1, sql: TABLES }],
};

/**
 * How far a classification is: taking (its inputs come), sending (its batch is being made), running, ended (every input has
 * a result).
 */
export type JobPhase = 'taking' | 'sending' | 'running' | 'ended';

/** The state of the whole classification. Times are in milliseconds since 1970. */
export interface Job extends ClassificationOpening {
  phase: JobPhase;
  createdAt: number;
  /** When its maker was last active. */
  touchedAt: number;
  /** The last item whose answer was searched in the cache. */
  recalledTo: number;
  counts: { inputs: number; cached: number; repeated: number; requests: number; labelled: number; failed: number };
  /** Whether the maker of the batch has failed. The batch may have been made after all. */
  isAbandoned?: boolean;
  cancelAt?: number;
  endedAt?: number;
  usage?: ClassifyUsage;
  cost?: Nanodollars;
  /** The state of the delivery of its end; absent if nothing is delivered. */
  delivery?: PendingDelivery;
}

/** The outcome of one request of the batch. */
export type VoteAnswer = Choice | { error: InputFault };

/** One input with everything that its result is made of. */
export interface ResultParts {
  n: number;
  id: string;
  item: number | null;
  fault: InputFault | null;
  known: KeptAnswer | null;
  votes: VoteAnswer[];
}

type InputRow = { n: number; id: string; item: number | null; fault: string | null; known: string | null };

/** Reads and writes the rows of a classification. */
export class JobTables extends Tables {
  /** Deletes all rows but the record. */
  clear(): void {
    this.together(() => {
      for (const table of ['inputs', 'items', 'texts', 'votes']) this.write(`delete from ${table}`);
    });
  }

  /** Adds inputs that are not there yet. @param from the place of the first one */
  add(from: number, inputs: readonly TakenInput[]): void {
    this.together(() => {
      // The call was repeated, because its answer was lost.
      if (this.has('inputs where n = ?', from)) return;
      const rows = inputs.map(({ id, hash, fault }, index) => ({
        ...{ n: from + index, id: JSON.stringify(id), hash, fault: fault && JSON.stringify(fault) },
      }));
      // One statement for many rows: each statement takes longer than its row.
      const given = `(select value ->> 'n' n, value ->> 'id' id, value ->> 'hash' hash, value ->> 'fault' fault
        from json_each(?))`;
      const json = JSON.stringify(rows);
      this.write(`insert or ignore into items (n, hash) select n, hash from ${given} where fault is null`, json);
      this.write(
        `insert into inputs (n, id, item, fault)
         select given.n, given.id, iif(given.fault is null, coalesce(items.n, given.n), null), given.fault
         from ${given} given left join items on items.hash = given.hash`,
        json,
      );
      const own = this.read<{ n: number }>(
        'select n from items where n between ? and ?',
        from,
        from + inputs.length - 1,
      );
      const texts = own.map(({ n }) => ({ n, text: inputs[n - from]?.input ?? '' }));
      this.insertAll('texts', texts);
    });
  }

  /** @returns the next items whose answers may be known */
  hashesAfter(n: number, limit: number): { n: number; hash: string }[] {
    return this.read('select n, hash from items where n > ? and hash is not null order by n limit ?', n, limit);
  }

  /** Notes known answers, so that their texts need not go up. */
  noteKnown(answers: ReadonlyMap<number, KeptAnswer>): void {
    this.together(() => {
      for (const [n, answer] of answers) {
        this.write('update items set known = ?, kept = 1 where n = ?', JSON.stringify(answer), n);
        this.write('delete from texts where n = ?', n);
      }
    });
  }

  /** @returns the next texts that must go up: at least one, and then up to a number of characters, and of texts */
  textsAfter(n: number, { characters, inputs }: { characters: number; inputs: number }): UnknownInput[] {
    const page: UnknownInput[] = [];
    let length = 0;
    for (const row of this.storage.sql.exec<{ n: number; text: string }>(
      'select n, text from texts where n > ? order by n limit ?',
      n,
      inputs,
    )) {
      page.push({ n: row.n, input: row.text });
      length += row.text.length;
      if (length >= characters) break;
    }
    return page;
  }

  /** Deletes the texts, because they have gone up. */
  forgetTexts(): void {
    this.write('delete from texts');
  }

  /** Stores answers of the batch. A repeated answer replaces the stored one. */
  addVotes(votes: readonly { item: number; vote: number; answer: VoteAnswer }[]): void {
    const rows = votes.map(({ item, vote, answer }) => ({ item, vote, answer: JSON.stringify(answer) }));
    this.together(() => this.insertAll('votes', rows, 'insert or replace'));
  }

  /** @returns how many inputs there are: all, with a known answer, sharing an answer, and texts to send */
  counts(): { inputs: number; cached: number; repeated: number; texts: number } {
    const [row] = this.read<{ inputs: number; cached: number; repeated: number; texts: number }>(
      `select count(*) inputs, count(known) cached,
         count(iif(known is null and inputs.n != items.n, 1, null)) repeated, (select count(*) from texts) texts
       from inputs left join items on items.n = inputs.item`,
    );
    return row ?? { inputs: 0, cached: 0, repeated: 0, texts: 0 };
  }

  /** @returns the next inputs with what their results are made of */
  partsAfter(n: number, limit: number): ResultParts[] {
    const rows = this.read<InputRow>(
      `select inputs.n, id, item, fault, known from inputs left join items on items.n = item
         where inputs.n > ? order by inputs.n limit ?`,
      n,
      limit,
    );
    return rows.map(({ n, id, item, fault, known }) => ({
      ...{ n, item },
      id: JSON.parse(id) as string,
      fault: fault === null ? null : (JSON.parse(fault) as InputFault),
      known: known === null ? null : (JSON.parse(known) as KeptAnswer),
      votes: item === null || known !== null ? [] : this.votesOf(item),
    }));
  }

  votesOf(item: number): VoteAnswer[] {
    const rows = this.read<{ answer: string }>('select answer from votes where item = ? order by vote', item);
    return rows.map(({ answer }) => JSON.parse(answer) as VoteAnswer);
  }

  /** @returns items whose answers are not in the cache yet */
  unkept(limit: number): { n: number; hash: string }[] {
    return this.read('select n, hash from items where kept = 0 and hash is not null order by n limit ?', limit);
  }

  /** Notes that the answers of items are in the cache, or do not belong there. */
  noteKept(items: readonly number[]): void {
    this.together(() => {
      for (const n of items) this.write('update items set kept = 1 where n = ?', n);
    });
  }
}
