import { isObject, type JsonObject, parseJsonObject } from '../../kit/json/object.ts';
import { isReadableByEveryClient, isToolDetailBlock } from './redact-for.ts';

/** The visibility of a block. A listener needs it even if the block began before the events that it reads. */
interface BlockVisibility {
  isHidden: boolean;
  /** Its number where only text is shown; undefined for a block that is left out there. */
  number: number | undefined;
  /** The data of its hidden beginning, once it was created for a listener. */
  hidden?: string;
}

const BLOCK_EVENT = 'event: content_block_start\ndata: ';
/** The beginning of a block as the API and the edge write it. */
const BEGINNING = /\{"type":"content_block_start","index":(\d+),"content_block":\{"type":"(\w+)"/y;

/** Knows which blocks of a turn are hidden, and their numbers where only text is shown. All listeners of its log share it. */
export class BlockVisibilityTracker {
  readonly turn: string | undefined;
  readonly #started = new Map<unknown, BlockVisibility>();
  #next = 0;

  /** @param text the turn's events so far, as they are shown or stored */
  constructor(turn?: string, text = '') {
    this.turn = turn;
    for (const event of text.split(BLOCK_EVENT).slice(1)) this.read(event.split('\n\n', 1)[0] ?? '');
  }

  /** @returns a block by its own number */
  getBlock(index: unknown): BlockVisibility | undefined {
    return this.#started.get(index);
  }

  /** Records the beginning of a block. */
  begin(index: unknown, block: JsonObject): BlockVisibility {
    const isSeen = isReadableByEveryClient(block);
    const begun = this.#started.get(index) ?? { isHidden: false, number: isSeen ? this.#next : undefined };
    if (begun.number === this.#next) this.#next += 1;
    begun.isHidden ||= isToolDetailBlock(block);
    this.#started.set(index, begun);
    return begun;
  }

  /** Records a block without parsing its event. @returns undefined if the event has another form, or begins no block */
  addBlockFromText(text: string, at = 0): BlockVisibility | undefined {
    BEGINNING.lastIndex = at;
    const [, index, type] = BEGINNING.exec(text) ?? [];
    return index === undefined ? undefined : this.begin(Number(index), { type });
  }

  /** Records a block by parsing its event, whatever its form is. */
  read(data: string): void {
    if (this.addBlockFromText(data)) return;
    const { index, content_block: block } = parseJsonObject(data) ?? {};
    if (isObject(block)) this.begin(index, block);
  }
}
