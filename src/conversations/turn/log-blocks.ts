import { isObject, type Json, parseObject } from '../../json/object.ts';
import { isHiddenBlock, isReadable } from '../history/hidden-blocks.ts';

/** What a listener must know of a block whose beginning it may have seen before. */
interface BegunBlock {
  isHidden: boolean;
  /** Its number where an answer is shown as text; undefined for a block that is left out. */
  readonly number: number | undefined;
  /** The data of its beginning, for those who do not see all of it, once it was made for one of them. */
  told?: string;
}

const BEGINS = 'event: content_block_start\ndata: ';
/** The beginning of a block as the API and the edge write it. */
const BEGINNING = /\{"type":"content_block_start","index":(\d+),"content_block":\{"type":"(\w+)"/y;

/** Knows the blocks of one answer: which are hidden, and what their numbers are as text. All listeners of a log share it. */
export class LogBlocks {
  readonly #begun = new Map<unknown, BegunBlock>();
  #next = 0;

  /** @param text the events so far, as they are shown or stored */
  constructor(text = '') {
    for (let at = text.indexOf(BEGINS); at >= 0; at = text.indexOf(BEGINS, at + 1)) {
      const from = at + BEGINS.length;
      this.read(text.slice(from, text.indexOf('\n\n', from)));
    }
  }

  /** @returns a block by its own number; undefined if none has begun with it. */
  at(index: unknown): BegunBlock | undefined {
    return this.#begun.get(index);
  }

  /** Notes the beginning of a block. @returns what is known of it */
  begin(index: unknown, block: Json): BegunBlock {
    const known = this.#begun.get(index);
    const isHidden = isHiddenBlock(block);
    if (known) {
      known.isHidden ||= isHidden;
      return known;
    }
    const begun = { isHidden, number: isReadable(block) ? this.#next : undefined };
    if (begun.number !== undefined) this.#next += 1;
    this.#begun.set(index, begun);
    return begun;
  }

  /** Notes the beginning of a block without parsing it. @returns undefined where it has another form, or is none */
  note(text: string, at = 0): BegunBlock | undefined {
    BEGINNING.lastIndex = at;
    const [, index, type] = BEGINNING.exec(text) ?? [];
    return index === undefined ? undefined : this.begin(Number(index), { type });
  }

  /** Notes the beginning of a block, whatever its form is. */
  read(data: string): void {
    if (this.note(data)) return;
    const { index, content_block: block } = parseObject(data) ?? {};
    if (isObject(block)) this.begin(index, block);
  }
}
