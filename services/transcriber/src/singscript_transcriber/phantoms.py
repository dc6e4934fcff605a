"""Phrases that Whisper invents where nobody speaks: how the videos that it learnt from end, and who subtitled them.

Facts that users have reported and researchers have counted, in our own layout:

- openai/whisper, discussions 679, 928 and 2608: subtitle credits and thanks in many languages;
- Barański et al., "Investigation of Whisper ASR Hallucinations Induced by Non-Speech Audio", 2025 (arXiv 2501.11378):
  few phrases are most of what is invented, and they can be told by a list;
- Vexa-ai/vexa issue 617 (ja, tr), amicalhq/amical issue 71 (ja), PocketShell-io/pocketshell issue 452 (ko),
  YaoFANGUK/video-subtitle-generator issue 29 (ru, zh), and the lists that many public projects keep.

People also say and sing some of them: alone the list proves nothing (`guards.py` asks the voice detector too).
"""

from __future__ import annotations

from collections.abc import Sequence

from singscript_transcriber import pace

# By language of the phrase; it is invented in others too. After " *" a name, a year or the like may follow.
PHRASES: dict[str, tuple[str, ...]] = {
    "ar": ("ترجمة نانسي قنقر", "اشتركوا في القناة", "شكرا على المشاهدة", "شكرا للمشاهدة", "موسيقى"),
    "cs": ("Titulky vytvořil *",),
    "da": ("Danske tekster af *", "Tak fordi du så med", "Tak for at du så med"),
    "de": (
        "Untertitel der Amara.org-Community",
        "Untertitelung aufgrund der Amara.org-Community",
        "Untertitel im Auftrag des ZDF *",
        "Untertitelung im Auftrag des ZDF *",
        "Untertitelung des ZDF *",
        "Untertitel von *",
        "Copyright WDR *",
        "Vielen Dank",
        "Vielen Dank fürs Zuschauen",
        "Vielen Dank für's Zuschauen",
        "Vielen Dank für die Aufmerksamkeit",
        "Danke fürs Zuschauen",
        "Bis zum nächsten Mal",
        "Musik",
    ),
    "el": ("Υπότιτλοι AUTHORWAVE", "Ευχαριστώ που παρακολουθήσατε"),
    "en": (
        "Thank you",
        "Thank you very much",
        "Thank you so much for watching",
        "Thank you for watching",
        "Thank you for listening",
        "Thanks for watching",
        "Thanks for listening",
        "Thanks for watching and I'll see you next time",
        "I'll see you next time",
        "I'll see you in the next video",
        "See you next time",
        "See you in the next video",
        "Please subscribe",
        "Please subscribe to my channel",
        "Please like and subscribe",
        "Don't forget to like and subscribe",
        "Like and subscribe",
        "Subscribe to my channel",
        "We'll be right back",
        "Subtitles by *",
        "Subtitled by *",
        "Captions by *",
        "Captioned by *",
        "Transcribed by *",
        "Transcription by *",
        "Translated by *",
        "Subs by *",
        "www.mooji.org",
        "You",
        "Bye",
        "Bye bye",
        "Music",
        "Upbeat music",
        "Applause",
    ),
    "es": (
        "Subtítulos realizados por *",
        "Subtítulos por *",
        "Subtítulos creados por *",
        "Subtítulos hechos por *",
        "Subtitulado por *",
        "Subtítulos en español de Amara.org",
        "Gracias por ver el video",
        "Gracias por ver",
        "Suscríbete al canal",
        "Más información www.alimmenta.com",
        "Música",
    ),
    "fi": ("Kiitos kun katsoit *",),
    "fr": (
        "Sous-titres réalisés par *",
        "Sous-titres réalisés para *",
        "Sous-titres réalisés pour *",
        "Sous-titres faits par *",
        "Sous-titres fait par *",
        "Sous-titres par *",
        "Sous-titrage *",
        "par SousTitreur.com",
        "Merci d'avoir regardé",
        "Merci d'avoir regardé cette vidéo",
        "Abonnez-vous à la chaîne",
        "Musique",
    ),
    "hu": ("Köszönöm, hogy megnézted", "Köszi, hogy megnézted", "Feliratok az Amara.org közösségétől"),
    "id": ("Terima kasih telah menonton", "Terima kasih sudah menonton", "Sampai jumpa di video selanjutnya"),
    "it": (
        "Sottotitoli creati dalla comunità Amara.org",
        "Sottotitoli e revisione a cura di *",
        "Sottotitoli e revisione al canale di *",
        "Sottotitoli a cura di *",
        "Sottotitoli di *",
        "Grazie per la visione",
        "Grazie per aver guardato il video",
        "Iscriviti al canale",
        "Musica",
    ),
    "ja": (
        "ご視聴ありがとうございました",
        "ご視聴ありがとうございます",
        "ご清聴ありがとうございました",
        "最後までご視聴いただきありがとうございました",
        "見てくれてありがとう",
        "また次の動画でお会いしましょう",
        "次の動画でお会いしましょう",
        "チャンネル登録をお願いいたします",
        "チャンネル登録をお願いします",
        "チャンネル登録よろしくお願いします",
        "チャンネル登録をよろしくお願いします",
        "チャンネル登録と高評価をよろしくお願いします",
        "おやすみなさい",
        "音楽",
        "字幕 *",
    ),
    "ko": (
        "시청해 주셔서 감사합니다",
        "영상 시청해 주셔서 감사합니다",
        "구독과 좋아요 부탁드립니다",
        "구독과 좋아요 그리고 알림 설정 부탁드립니다",
        "다음 영상에서 만나요",
        "다음 영상에서 만나요 안녕",
        "한글자막 by *",
        "자막 제공 *",
        "MBC 뉴스 *",
    ),
    "nl": (
        "Ondertitels ingediend door *",
        "Ondertiteld door *",
        "Ondertiteling door *",
        "TV Gelderland *",
        "Bedankt voor het kijken",
    ),
    "no": ("Tekstet av *", "Teksting av *", "Undertekster av *", "Takk for at du så på", "Takk for at dere så på"),
    "pl": (
        "Napisy stworzone przez *",
        "Napisy wykonane przez *",
        "Napisy robione przez *",
        "Zdjęcia i napisy stworzone przez *",
        "Tłumaczenie i napisy stworzone przez *",
        "Tłumaczenie stworzone przez *",
        "Dziękuję za oglądanie",
        "Dziękuję za uwagę",
        "www.multi-moto.eu",
    ),
    "pt": (
        "Legendas pela *",
        "Legendas por *",
        "Transcrição e Legendas *",
        "Obrigado por assistir",
    ),
    "ro": (
        "Să vă mulțumim pentru vizionare",
        "Vă mulțumim pentru vizionare",
        "Nu uitați să dați like și subscribe",
        "Nu uitați să vă abonați la canal",
    ),
    "ru": (
        "Продолжение следует",
        "Субтитры сделал *",
        "Субтитры создавал *",
        "Субтитры подогнал *",
        "Субтитры добавил *",
        "Редактор субтитров *",
        "Спасибо за просмотр",
        "Спасибо за внимание",
        "Подписывайтесь на канал",
        "Музыка",
    ),
    "sv": (
        "Undertexter från Amara.org-gemenskapen",
        "Undertexter av *",
        "Textning *",
        "Svensktextning.nu",
        "Tack för att du tittade",
        "Tack för att ni tittade",
    ),
    "th": ("คำบรรยายโดยชุมชน Amara.org", "ขอบคุณที่รับชม", "โปรดติดตามตอนต่อไป"),
    "tr": (
        "Altyazı M.K",
        "Altyazı *",
        "İzlediğiniz için teşekkürler",
        "İzlediğiniz için teşekkür ederim",
        "Abone olmayı unutmayın",
        "Müzik",
    ),
    "uk": ("Дякую за перегляд", "Дякуємо за перегляд", "Дякуємо за перегляд і до зустрічі у наступному відео"),
    "vi": (
        "Hãy subscribe cho kênh *",
        "Hãy đăng ký kênh *",
        "Cảm ơn các bạn đã theo dõi",
        "Cảm ơn các bạn đã theo dõi và hẹn gặp lại",
        "Hẹn gặp lại các bạn trong những video tiếp theo",
    ),
    "zh": (
        "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
        "請不吝點贊 訂閱 轉發 打賞支持明鏡與點點欄目",
        "明镜需要您的支持 欢迎订阅明镜",
        "字幕由Amara.org社区提供",
        "字幕由Amara.org社區提供",
        "中文字幕由Amara.org社区提供",
        "中文字幕由Amara.org社區提供",
        "小編字幕由Amara.org社區提供",
        "由 Amara.org 社群提供的字幕",
        "字幕志愿者 *",
        "字幕by *",
        "中文字幕 *",
        "优优独播剧场 *",
        "谢谢观看",
        "感谢观看",
        "謝謝觀看",
        "谢谢大家",
    ),
}
# What may follow " *", in units of `pace.units`: a name with some initials, or a short line in Vietnamese.
_MOST_AFTER = 14


def _by_first_unit() -> dict[str, list[tuple[list[str], bool]]]:
    """Phrases by their first unit: (units, whether more may follow)."""
    phrases: dict[str, list[tuple[list[str], bool]]] = {}
    for phrase in (phrase for some in PHRASES.values() for phrase in some):
        said = pace.units(phrase)
        phrases.setdefault(said[0], []).append((said, phrase.endswith(" *")))
    return phrases


_BY_FIRST_UNIT = _by_first_unit()


def are_all(said: Sequence[str]) -> bool:
    """Whether `said`, units of `pace.units`, is one phrase of the list after the other and nothing else."""
    ends = {0}
    for start in range(len(said)):
        for phrase, is_open in _BY_FIRST_UNIT.get(said[start], ()) if start in ends else ():
            end = start + len(phrase)
            if list(said[start:end]) == phrase:
                ends.update(range(end, end + (_MOST_AFTER if is_open else 0) + 1))
    return bool(said) and len(said) in ends
