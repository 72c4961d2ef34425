"""Utterances with the feeling that somebody who hears them would name: the words, and how they are spoken.

Written apart from the sentences that the text's emotion was made with. The styles are what is known of how people of a
feeling speak, not recordings of any.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Voice:
    """As espeak-ng counts: words a minute, pitch and its span 0..99, amplitude 0..200."""

    rate: int
    pitch: int
    span: int
    amplitude: int


@dataclass(frozen=True, slots=True)
class Spoken:
    text: str
    label: str
    voice: Voice
    name: str  # of the speaker


NAMES = ("en-us", "en-us+f3", "en-us+m3")
VOICES: dict[str, tuple[Voice, ...]] = {
    "anger": (Voice(190, 60, 75, 170), Voice(205, 55, 70, 150), Voice(175, 50, 60, 180)),
    "disgust": (Voice(150, 40, 45, 100), Voice(140, 45, 55, 110), Voice(160, 35, 40, 90)),
    "fear": (Voice(200, 70, 45, 95), Voice(210, 65, 40, 80), Voice(185, 72, 50, 110)),
    "joy": (Voice(185, 65, 80, 130), Voice(180, 60, 75, 120), Voice(195, 68, 85, 140)),
    "neutral": (Voice(165, 50, 50, 100), Voice(170, 48, 45, 95), Voice(160, 50, 50, 90)),
    "sadness": (Voice(125, 35, 25, 55), Voice(115, 38, 30, 60), Voice(135, 32, 20, 50)),
    "surprise": (Voice(180, 72, 90, 140), Voice(175, 68, 85, 130), Voice(190, 75, 95, 150)),
}
TEXTS: dict[str, tuple[str, ...]] = {
    "anger": (
        "I have told you ten times to stop calling me.",
        "They lied to me and took my money.",
        "This is the worst service I have ever had.",
        "Get out of my house right now.",
        "He broke my window and did not even say sorry.",
        "I am so angry that I could scream.",
        "You had no right to read my letters.",
        "How dare you talk to my daughter like that.",
        "I cannot believe what they have done to my car.",
    ),
    "disgust": (
        "There was a dead mouse in the soup.",
        "The smell in that bathroom made me sick.",
        "He spat on the floor of the restaurant.",
        "The milk was green and full of lumps.",
        "I found somebody's hair in my sandwich.",
        "The whole kitchen was crawling with flies.",
        "It is revolting how they treat those animals.",
        "The bed was dirty and it stank of sweat.",
        "I cannot look at raw liver without feeling ill.",
    ),
    "fear": (
        "I think somebody is following me.",
        "I am terrified of the operation tomorrow.",
        "There is a strange noise in the cellar.",
        "What if the plane goes down.",
        "I am afraid that I will lose my job.",
        "My heart is beating so fast and I cannot breathe.",
        "Please do not leave me alone in the dark.",
        "The doctor wants to see me again and he would not say why.",
        "Something is moving behind the door.",
    ),
    "joy": (
        "We won the game and everybody is dancing.",
        "I got the job that I wanted so much.",
        "My son learned to ride a bicycle today.",
        "It is a beautiful morning and I feel wonderful.",
        "I am so happy that you came to my birthday.",
        "We had a great time at the beach.",
        "She said yes and we are getting married.",
        "The baby is here and she is perfect.",
        "I have been waiting for this holiday all year.",
    ),
    "neutral": (
        "The meeting begins at ten o'clock.",
        "Please send the letter to the office in London.",
        "How many days are there in a year?",
        "The shop is on the left side of the street.",
        "I need two pounds of potatoes and some salt.",
        "What time does the bus leave?",
        "The table is made of wood and glass.",
        "Water boils at a hundred degrees.",
        "He works for a bank and lives near the station.",
    ),
    "sadness": (
        "My grandmother died last night.",
        "I miss him every single day.",
        "Nobody remembered my birthday.",
        "I feel so lonely since she left.",
        "We had to say goodbye to our old dog.",
        "Nothing makes me smile any more.",
        "I failed again and I want to cry.",
        "It has been a year since the funeral.",
        "I do not know why I should get up in the morning.",
    ),
    "surprise": (
        "Wow, I did not expect to see you here.",
        "I never thought that they would choose me.",
        "You are telling me that he is a millionaire?",
        "Suddenly the lights went on and everybody was there.",
        "What, they moved to China without a word?",
        "I was amazed when the old clock began to work again.",
        "Is that really you after all these years?",
        "Who would have thought that the cat could open doors.",
        "Oh my goodness, there is snow in June.",
    ),
}


def spoken() -> list[Spoken]:
    return [
        Spoken(text, label, VOICES[label][place % 3], NAMES[(place + turn) % 3])
        for turn, (label, texts) in enumerate(TEXTS.items())
        for place, text in enumerate(texts)
    ]
