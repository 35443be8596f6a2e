/** The rows of a classification by batch. */

import { Tables } from '../../kit/objects/tables.ts';
import type { KeptAnswer } from '../../named/classify/classify-answers.schema.ts';
import type { Choice } from '../../named/classify/task/prompt.ts';
import type { InputFault, TakenInput } from './contracts/classification.ts';

/**
 * `inputs`: all of them in their order, their ids as JSON, since rows hold no half of a character; those that are equal share
 * an item, the place of the first. `items`: those whose answer was known, or goes into the cache. `votes`: the answers of the
 * batch.
 */
const LABEL_TABLES = `
  create table if not exists inputs (n integer primary key, id text not null, item integer, fault text) strict;
  create table if not exists items (
    n integer primary key, hash text unique, known text, kept integer not null default 0
  ) strict;
  create table if not exists votes (
    item integer not null, vote integer not null, answer text not null, primary key (item, vote)
  ) strict, without rowid;`;

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
export class LabelTables extends Tables {
  begin(): void {
    this.storage.sql.exec(LABEL_TABLES);
  }

  clear(): void {
    this.together(() => {
      for (const table of ['inputs', 'items', 'votes']) this.write(`delete from ${table}`);
    });
  }

  /** Adds inputs that are not there yet. @param from the place of the first one */
  add(from: number, inputs: readonly TakenInput[]): void {
    this.together(() => {
      // The call was repeated, because its answer was lost.
      if (this.has('inputs where n = ?', from)) return;
      const rows = inputs.map(({ id, item, hash, fault, known }, index) => ({
        ...{ n: from + index, id: JSON.stringify(id), item, hash },
        ...{ fault: fault && JSON.stringify(fault), known: known && JSON.stringify(known) },
      }));
      const json = JSON.stringify(rows);
      // One statement for many rows: each statement takes longer than its row.
      this.write(
        `insert into items (n, hash, known, kept) select value ->> 'n', value ->> 'hash', value ->> 'known',
           value ->> 'known' is not null from json_each(?) where value ->> 'hash' is not null`,
        json,
      );
      this.write(
        `insert into inputs (n, id, item, fault)
           select value ->> 'n', value ->> 'id', value ->> 'item', value ->> 'fault' from json_each(?)`,
        json,
      );
    });
  }

  /** Stores answers of the batch. A repeated answer replaces the stored one. */
  addVotes(votes: readonly { item: number; vote: number; answer: VoteAnswer }[]): void {
    const rows = votes.map(({ item, vote, answer }) => ({ item, vote, answer: JSON.stringify(answer) }));
    this.together(() => this.insertAll('votes', rows, 'insert or replace'));
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
