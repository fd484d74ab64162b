/** How much of an output can be said: in JSON some characters take six times their room. */

/** More is better kept in a file: all of it is in one message, one row and one line. */
export const outputBytesHighest = 16 * 1024 * 1024
/** Characters of a JSON string: lines and quotes have room, bytes that are no text do not. */
const saidMax = 2 * outputBytesHighest
const escapedMax = 6

/** The head of a text that is said in bounded room: nearly always all of it. */
export function sayable(text: string): string {
  if (text.length * escapedMax <= saidMax) return text
  let room = saidMax
  for (let index = 0; index < text.length; index += 1) {
    room -= roomOf(text.charCodeAt(index))
    // Not through the middle of a character.
    if (room < 0) return text.slice(0, isLow(text.charCodeAt(index)) ? index - 1 : index)
  }
  return text
}

function roomOf(code: number): number {
  if (code >= 0x20) return code === 0x22 || code === 0x5c ? 2 : 1
  // \b \t \n, \f \r
  return (code >= 8 && code <= 10) || code === 12 || code === 13 ? 2 : escapedMax
}

const isLow = (code: number) => code >= 0xdc00 && code <= 0xdfff
