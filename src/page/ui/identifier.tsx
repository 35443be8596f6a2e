import { Fragment } from 'preact';

/** A longer part may be cut where there is little space, so that it has the whole id in its title. */
const MAX_PART_CHARACTERS = 16;

/** Shows an id, a name or an error code. A line breaks only behind `_`, `-` and the like, never within a word. */
export function Identifier({ id }: { id: string }) {
  const parts = id.split(/(?<=[-_.:@/])/);
  return (
    <span class="identifier">
      {parts.map((part, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a text have no other key.
        <Fragment key={index}>
          {index > 0 && <wbr />}
          {part.length > MAX_PART_CHARACTERS ? (
            <span class="clipped" title={id}>
              {part}
            </span>
          ) : (
            part
          )}
        </Fragment>
      ))}
    </span>
  );
}
